/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The clock: any register, any state, any moment. Every date that it makes up is one, and its
 * digits are digits.
 * Bounds: every second from 1970 to 2037; every state and value
 * Flags: --unwind 70 --unsigned-overflow-check --conversion-check
 */
#include "env.h"

#include "dev/rtc.c"

static bool any_time;

uint64_t plat_realtime_ns(void)
{
    uint32_t seconds = any_time ? nondet_u32() : 0;

    ASSUME(seconds <= INT32_MAX);
    return (uint64_t)seconds * 1000000000u;
}

static bool digits(uint8_t v)
{
    return v >> 4 <= 9 && (v & 15) <= 9;
}

int main(void)
{
    struct rtc r;
    uint16_t offset = nondet_u16();

    ASSUME(r.index < sizeof(r.ram));
    if (nondet_bool()) {
        uint8_t other = nondet_u8(), index = r.index;

        ASSUME(other < sizeof(r.ram));
        uint8_t old = r.ram[other];
        rtc_write(&r, offset, nondet_u8());
        CHECK(r.index < sizeof(r.ram));
        CHECK(IMPLIES(r.ram[other] != old, offset == 1 && other == index));
        CHECK(IMPLIES(offset > 1, r.index == index));
        WITNESS(r.ram[other] != old);
        return 0;
    }
    uint8_t v = rtc_read(&r); /* the time does not matter to what this does with it */
    CHECK(IMPLIES(r.index == REG_A, !(v & A_UPDATING)));
    any_time = true;
    struct date d = date_now();
    CHECK(d.year >= 1970 && d.year <= 2038 && d.month >= 1 && d.month <= 12);
    CHECK(d.day >= 1 && d.day <= month_days(d.year, d.month) && d.weekday >= 1 && d.weekday <= 7);
    CHECK(d.hour < 24 && d.minute < 60 && d.second < 60);
    WITNESS(d.day == 29 && d.month == 2 && d.year == 2036);
    unsigned part = nondet_u8();
    ASSUME(part < 100);
    CHECK(IMPLIES(!(r.ram[REG_B] & B_BINARY), digits(encoded(&r, part))));
    return 0;
}
