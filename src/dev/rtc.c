/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The MC146818 clock: the host's wall clock in UTC, read-only, always in 24-hour mode. "Update in
 * progress" never shows, or a kernel would wait for it to pass, one exit a look. Time is converted
 * on each read, so a reader that spans a second's end reads twice, as with the real part.
 */
#include "dev/dev.h"

enum {
    REG_SECONDS = 0x00,
    REG_MINUTES = 0x02,
    REG_HOURS = 0x04,
    REG_WEEKDAY = 0x06,
    REG_DAY = 0x07,
    REG_MONTH = 0x08,
    REG_YEAR = 0x09,
    REG_A = 0x0a,
    REG_B = 0x0b,
    REG_C = 0x0c,
    REG_D = 0x0d,
    REG_CENTURY = 0x32,
};

#define A_UPDATING  0x80u
#define B_24_HOURS  0x02u
#define B_BINARY    0x04u
#define D_VALID_RAM 0x80u

struct date {
    unsigned year, month, day, weekday, hour, minute, second;
};

static bool leap(unsigned year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static unsigned month_days(unsigned year, unsigned month)
{
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

    return days[month - 1] + (month == 2 && leap(year) ? 1u : 0u);
}

static struct date date_now(void)
{
    uint64_t seconds = plat_realtime_ns() / 1000000000u;
    unsigned in_day = (unsigned)(seconds % 86400);
    uint64_t days = seconds / 86400;
    struct date d = {.year = 1970, .month = 1};

    d.hour = in_day / 3600;
    d.minute = in_day / 60 % 60;
    d.second = in_day % 60;
    d.weekday = (unsigned)((days + 4) % 7) + 1; /* 1970 began on a Thursday; Sunday is 1 */
    while (days >= (leap(d.year) ? 366u : 365u)) {
        days -= leap(d.year) ? 366u : 365u;
        d.year++;
    }
    while (days >= month_days(d.year, d.month)) {
        days -= month_days(d.year, d.month);
        d.month++;
    }
    d.day = (unsigned)days + 1;
    return d;
}

static uint8_t encoded(const struct rtc *r, unsigned v)
{
    return (uint8_t)((r->ram[REG_B] & B_BINARY) ? v : (v / 10) << 4 | v % 10);
}

uint8_t rtc_read(struct rtc *r)
{
    struct date d = date_now();

    switch (r->index) {
    case REG_SECONDS: return encoded(r, d.second);
    case REG_MINUTES: return encoded(r, d.minute);
    case REG_HOURS: return encoded(r, d.hour);
    case REG_WEEKDAY: return encoded(r, d.weekday);
    case REG_DAY: return encoded(r, d.day);
    case REG_MONTH: return encoded(r, d.month);
    case REG_YEAR: return encoded(r, d.year % 100);
    case REG_CENTURY: return encoded(r, d.year / 100);
    case REG_A: return (uint8_t)(r->ram[REG_A] & ~A_UPDATING);
    case REG_B: return r->ram[REG_B] | B_24_HOURS;
    case REG_C: return 0; /* no interrupt has happened */
    case REG_D: return D_VALID_RAM;
    default: return r->ram[r->index]; /* alarms, and memory */
    }
}

void rtc_write(struct rtc *r, uint16_t offset, uint8_t value)
{
    if (offset == 0)
        r->index = value & 0x7f; /* bit 7 gates the NMI */
    else if (offset == 1)
        r->ram[r->index] = value; /* of the time itself nothing is read back */
}
