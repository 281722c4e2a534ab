/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The serial port and the keyboard controller: any access to any register in any state; only the
 * bits that exist are kept, and only the reset line resets.
 * Bounds: every state, offset and value
 * Flags: --unwind 9 --unsigned-overflow-check
 */
#include "env.h"

#include "dev/i8042.c"
#include "dev/serial.c"

static unsigned n_printed;
static uint8_t printed;

static void console(void *ctx, const uint8_t *data, size_t size)
{
    CHECK(size == 1 && READABLE(data, 1));
    n_printed++;
    printed = *data;
}

static void check_serial(uint16_t offset, uint8_t value)
{
    struct dev_host host = {.console = console};
    struct serial s = {nondet_u8(), nondet_u8(), nondet_u8(),
                       nondet_u8(), nondet_u8(), nondet_u8()};
    struct serial old = s;

    if (nondet_bool()) {
        uint8_t v = serial_read(&s, offset);
        CHECK(IMPLIES(offset > 7, v == 0xff));
        CHECK(IMPLIES(offset == 5, v == 0x60));
        CHECK(memcmp(&s, &old, sizeof(s)) == 0 && n_printed == 0);
        WITNESS(offset == 6 && v == 0xf0);
        return;
    }
    ASSUME(s.ier <= 0x0f && s.mcr <= 0x1f);
    serial_write(&s, &host, offset, value);
    CHECK(s.ier <= 0x0f && s.mcr <= 0x1f);
    CHECK(IMPLIES(n_printed, n_printed == 1 && offset == 0 && printed == value &&
                                 !(old.lcr & 0x80) && !(old.mcr & 0x10)));
    CHECK(IMPLIES(offset > 7, memcmp(&s, &old, sizeof(s)) == 0 && !n_printed));
    WITNESS(n_printed);
}

static void check_i8042(uint16_t offset, uint8_t value)
{
    struct i8042 k = {nondet_u8(), nondet_u8(), nondet_u8(), nondet_bool()};
    struct i8042 old = k;

    if (nondet_bool()) {
        uint8_t v = i8042_read(&k, offset);
        CHECK(k.command == old.command && k.control == old.control && k.output == old.output);
        CHECK(k.has_output == (offset == 0 ? false : old.has_output));
        CHECK(IMPLIES(offset == 4, (v & 1) == old.has_output));
        return;
    }
    bool reset = i8042_write(&k, offset, value);
    CHECK(IMPLIES(reset, !(value & 1) && ((offset == 4 && value >= 0xf0) ||
                                          (offset == 0 && old.command == 0xd1))));
    CHECK(IMPLIES(offset == 0, k.command == 0));
    CHECK(IMPLIES(offset != 0 && offset != 4, memcmp(&k, &old, sizeof(k)) == 0));
    WITNESS(reset && offset == 0);
    WITNESS(reset && offset == 4);
}

int main(void)
{
    uint16_t offset = nondet_u16();
    uint8_t value = nondet_u8();

    if (nondet_bool())
        check_serial(offset, value);
    else
        check_i8042(offset, value);
    return 0;
}
