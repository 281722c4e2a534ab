/* SPDX-License-Identifier: Apache-2.0 */
/* Serial port, clock, keyboard controller and I/O APIC, asked as a PC's kernel asks them. */
#include <string.h>
#include <time.h>

#include "fake_driver.h"
#include "tap.h"

/* ---- serial ---- */

static void test_serial(struct fake_host *h)
{
    struct serial s = {0};

    h->console_size = 0;
    for (const char *p = "boot\n"; *p; p++) {
        if (serial_read(&s, 5) & 0x20)
            serial_write(&s, &h->host, 0, (uint8_t)*p);
    }
    ok(h->console_size == 5 && memcmp(h->console, "boot\n", 5) == 0,
       "serial: a polled write prints");
    serial_write(&s, &h->host, 3, 0x80);
    serial_write(&s, &h->host, 0, 0x0c);
    serial_write(&s, &h->host, 1, 0x01);
    ok(serial_read(&s, 0) == 0x0c && serial_read(&s, 1) == 0x01 && h->console_size == 5,
       "serial: the divisor is behind LCR bit 7 and prints nothing");
    serial_write(&s, &h->host, 3, 0x03);
    ok(serial_read(&s, 3) == 0x03 && serial_read(&s, 0) == 0 && serial_read(&s, 1) == 0,
       "serial: data and IER before it");
    serial_write(&s, &h->host, 1, 0xff);
    ok(serial_read(&s, 1) == 0x0f, "serial: IER has four bits");
    ok((serial_read(&s, 2) & 1) == 1, "serial: no interrupt is ever pending");
    ok((serial_read(&s, 5) & 1) == 0, "serial: nothing is ever received");
    serial_write(&s, &h->host, 7, 0xa5);
    ok(serial_read(&s, 7) == 0xa5, "serial: scratch");
    serial_write(&s, &h->host, 4, 0x1a); /* as 8250 drivers probe: loop, OUT2 and RTS */
    ok((serial_read(&s, 6) & 0xf0) == 0x90, "serial: loop-back as a driver's probe wants it");
    serial_write(&s, &h->host, 0, 'x');
    ok(h->console_size == 5, "serial: and prints nothing in it");
}

/* ---- clock ---- */

static uint8_t cmos(struct rtc *r, uint8_t index)
{
    rtc_write(r, 0, index);
    return rtc_read(r);
}

static int two_digits(uint8_t bcd)
{
    return (bcd >> 4) * 10 + (bcd & 15);
}

static int64_t rtc_seconds(struct rtc *r, bool binary)
{
    struct tm t = {0};
    int v[7];
    static const uint8_t regs[] = {0x00, 0x02, 0x04, 0x07, 0x08, 0x09, 0x32};

    for (size_t i = 0; i < ARRAY_LEN(regs); i++) {
        uint8_t raw = cmos(r, regs[i]);
        v[i] = binary ? raw : two_digits(raw);
    }
    t.tm_sec = v[0];
    t.tm_min = v[1];
    t.tm_hour = v[2];
    t.tm_mday = v[3];
    t.tm_mon = v[4] - 1;
    t.tm_year = v[6] * 100 + v[5] - 1900;
    return (int64_t)timegm(&t);
}

static bool near_now(int64_t seconds)
{
    int64_t now = (int64_t)(plat_realtime_ns() / 1000000000u);

    /* a reading that spans a minute's end may be off by one, and the machine may be slow */
    return seconds >= now - 120 && seconds <= now + 1;
}

static void test_rtc(void)
{
    struct rtc r = {0};

    ok(near_now(rtc_seconds(&r, false)), "rtc: BCD time is now");
    time_t now = (time_t)(plat_realtime_ns() / 1000000000u);
    struct tm t;
    gmtime_r(&now, &t);
    ok(cmos(&r, 6) == t.tm_wday + 1 || t.tm_hour == 0, "rtc: day of the week, Sunday is 1");
    ok((cmos(&r, 0x0b) & 2) && !(cmos(&r, 0x0b) & 4), "rtc: 24 hours, BCD at first");
    rtc_write(&r, 0, 0x0b);
    rtc_write(&r, 1, 0x06);
    ok(near_now(rtc_seconds(&r, true)), "rtc: binary time is now");
    ok(cmos(&r, 0x0b) == 6, "rtc: register B reads back");
    rtc_write(&r, 0, 0x0a);
    rtc_write(&r, 1, 0xa6);
    ok(cmos(&r, 0x0a) == 0x26, "rtc: never updating, whatever is written");
    ok(cmos(&r, 0x0c) == 0 && cmos(&r, 0x0d) == 0x80, "rtc: no interrupt, battery good");
    rtc_write(&r, 0, 0x80 | 0x40);
    rtc_write(&r, 1, 0x77);
    ok(cmos(&r, 0x40) == 0x77, "rtc: memory, with the NMI bit set");
    rtc_write(&r, 0, 0x09);
    rtc_write(&r, 1, 0x01);
    ok(near_now(rtc_seconds(&r, true)), "rtc: the guest cannot set the time");
}

/* ---- keyboard controller ---- */

static bool command(struct i8042 *k, uint8_t value)
{
    return i8042_write(k, 4, value);
}

/* What a driver polls for: the answer, or -1 when none is there at once. */
static int answer(struct i8042 *k)
{
    return (i8042_read(k, 4) & 1) ? i8042_read(k, 0) : -1;
}

static void test_i8042(void)
{
    struct i8042 k = {0};

    ok(answer(&k) == -1 && !(i8042_read(&k, 4) & 2), "i8042: empty, and ready for input");
    command(&k, 0xaa);
    ok(answer(&k) == 0x55 && answer(&k) == -1, "i8042: self test");
    command(&k, 0x60);
    i8042_write(&k, 0, 0x47);
    command(&k, 0x20);
    ok(answer(&k) == 0x47, "i8042: control byte");
    command(&k, 0xad);
    command(&k, 0xa7);
    command(&k, 0x20);
    ok(answer(&k) == 0x77, "i8042: both ports off");
    command(&k, 0xae);
    command(&k, 0xa8);
    command(&k, 0x20);
    ok(answer(&k) == 0x47, "i8042: both ports on");
    command(&k, 0xab);
    ok(answer(&k) == 0, "i8042: keyboard port test");
    command(&k, 0xd3);
    i8042_write(&k, 0, 0x5a);
    ok(!(i8042_read(&k, 4) & 0x20) && answer(&k) == 0x5a,
       "i8042: loop, not from an auxiliary port");
    command(&k, 0xa9);
    int aux = answer(&k);
    ok(aux > 0 && aux != 0xfa && aux != 0xff, "i8042: auxiliary test fails at once");
    ok(!i8042_write(&k, 0, 0xff) && answer(&k) == 0xfa, "i8042: the keyboard acknowledges");
    command(&k, 0xd4);
    i8042_write(&k, 0, 0xf2);
    ok(answer(&k) == 0xfe, "i8042: nobody at the auxiliary port");
    command(&k, 0xd0);
    ok(answer(&k) == 3, "i8042: output port: no reset, A20 on");
    ok(!command(&k, 0xd1) && !i8042_write(&k, 0, 0x03), "i8042: output port written, no reset");
    ok(!command(&k, 0xd1) && i8042_write(&k, 0, 0x02), "i8042: reset by the output port");
    ok(command(&k, 0xfe), "i8042: reset by a pulse");
    ok(!command(&k, 0xff), "i8042: a pulse of nothing is no reset");
    ok(!i8042_write(&k, 1, 0xfe) && i8042_read(&k, 1) == 0xff, "i8042: no other ports");
}

/* ---- I/O APIC ---- */

static uint32_t apic_read(struct ioapic *io, uint32_t reg)
{
    struct lum_error err;

    (void)ioapic_write(io, NULL, 0, reg, &err);
    return ioapic_read(io, 0x10);
}

static void apic_write(struct ioapic *io, struct fake_host *h, uint32_t reg, uint32_t value)
{
    struct lum_error err;

    (void)ioapic_write(io, &h->vm.base, 0, reg, &err);
    ok(ioapic_write(io, &h->vm.base, 0x10, value, &err) == 0, "ioapic: write 0x%x to register 0x%x",
       value, reg);
}

static void test_ioapic(struct fake_host *h)
{
    const struct fake_route *r = &h->vm.routes[2];
    struct ioapic io;

    ioapic_init(&io, 4);
    ok(apic_read(&io, 0) == 4u << 24 && apic_read(&io, 2) == 4u << 24, "ioapic: id");
    ok(apic_read(&io, 1) == (0x11 | (ARCH_IOAPIC_PINS - 1) << 16),
       "ioapic: version 0x11, number of pins");
    ok(apic_read(&io, 0x10) == 0x10000 &&
           apic_read(&io, 0x10 + 2 * (ARCH_IOAPIC_PINS - 1)) == 0x10000,
       "ioapic: all masked");
    ok(apic_read(&io, 0x40) == 0 && apic_read(&io, 0xff) == 0 && apic_read(&io, 3) == 0,
       "ioapic: no other registers");
    apic_write(&io, h, 0x15, 7u << 24);
    ok(r->calls == 0, "ioapic: a masked pin is not routed");
    apic_write(&io, h, 0x14, 0x35);
    ok(r->calls == 1 && r->enabled && r->addr == (0xfee00000 | 7 << 12) && r->data == 0x35,
       "ioapic: unmasked: fixed, physical, to CPU 7");
    apic_write(&io, h, 0x14, 0x35);
    ok(r->calls == 1, "ioapic: no change, no route");
    apic_write(&io, h, 0x14, 0x35 | 1 << 12 | 1 << 14);
    ok(r->calls == 1 && apic_read(&io, 0x14) == 0x35, "ioapic: read-only bits stay 0");
    apic_write(&io, h, 0x14, 0x35 | 1 << 11 | 1 << 8);
    ok(r->calls == 2 && r->addr == (0xfee00000 | 7 << 12 | 4) && r->data == (0x35 | 1 << 8),
       "ioapic: logical, lowest priority");
    apic_write(&io, h, 0x14, 0x36 | 1 << 15);
    ok(r->enabled && r->data == 0x36 && apic_read(&io, 0x14) == (0x36 | 1 << 15),
       "ioapic: level triggering is kept in the register and sent as edge");
    apic_write(&io, h, 0x14, 4 << 8);
    ok(r->enabled && r->data == 4 << 8, "ioapic: NMI");
    apic_write(&io, h, 0x14, 0x35 | 5 << 8);
    ok(!r->enabled, "ioapic: INIT is nothing that a line may send");
    apic_write(&io, h, 0x14, 0x35);
    apic_write(&io, h, 0x14, 0x0f);
    ok(!r->enabled, "ioapic: nor is an exception's vector");
    apic_write(&io, h, 0x14, 0x35);
    unsigned calls = r->calls;
    apic_write(&io, h, 0x14, 0x10035);
    ok(r->calls == calls + 1 && !r->enabled, "ioapic: masked again");
    apic_write(&io, h, 0x15, 0xffffffff);
    ok(r->calls == calls + 1, "ioapic: and quiet");
    apic_write(&io, h, 0x40, 0);
    apic_write(&io, h, 1, 0xffffffff);
    ok(apic_read(&io, 1) == (0x11 | (ARCH_IOAPIC_PINS - 1) << 16),
       "ioapic: the version cannot be written");
    apic_write(&io, h, 0, 9u << 24);
    ok(apic_read(&io, 0) == 9u << 24, "ioapic: the id can");
}

int main(void)
{
    struct fake_host h;

    fake_host_init(&h, false, false);
    test_serial(&h);
    test_rtc();
    test_i8042();
    test_ioapic(&h);
    fake_host_done(&h);
    return tap_done();
}
