/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A 16550 that only prints: the transmitter is always empty, nothing is ever received and no
 * interrupt is raised. Enough of the rest answers for a driver's probe to recognise the part.
 */
#include "dev/dev.h"

enum {
    REG_DATA = 0, /* with LCR bit 7: divisor low */
    REG_IER = 1,  /* with LCR bit 7: divisor high */
    REG_IIR = 2,
    REG_LCR = 3,
    REG_MCR = 4,
    REG_LSR = 5,
    REG_MSR = 6,
    REG_SCRATCH = 7,
};

#define LCR_DIVISOR 0x80u
#define MCR_LOOP    0x10u
#define LSR_EMPTY   0x60u /* transmitter and holding register */
#define IIR_NONE    0x01u
#define MSR_READY   0xb0u /* CTS, DSR and carrier */

/* In loop-back the four modem outputs come back as the four inputs. */
static uint8_t modem_status(const struct serial *s)
{
    if (!(s->mcr & MCR_LOOP))
        return MSR_READY;
    unsigned dtr = s->mcr & 1u, rts = s->mcr >> 1 & 1u, out = s->mcr >> 2 & 3u;
    return (uint8_t)(rts << 4 | dtr << 5 | out << 6);
}

uint8_t serial_read(struct serial *s, uint16_t offset)
{
    bool divisor = (s->lcr & LCR_DIVISOR) != 0;

    switch (offset) {
    case REG_DATA: return divisor ? s->dll : 0;
    case REG_IER: return divisor ? s->dlm : s->ier;
    case REG_IIR: return IIR_NONE;
    case REG_LCR: return s->lcr;
    case REG_MCR: return s->mcr;
    case REG_LSR: return LSR_EMPTY;
    case REG_MSR: return modem_status(s);
    case REG_SCRATCH: return s->scratch;
    default: return 0xff;
    }
}

void serial_write(struct serial *s, const struct dev_host *host, uint16_t offset, uint8_t value)
{
    bool divisor = (s->lcr & LCR_DIVISOR) != 0;

    switch (offset) {
    case REG_DATA:
        if (divisor)
            s->dll = value;
        else if (!(s->mcr & MCR_LOOP))
            host->console(host->ctx, &value, 1);
        break;
    case REG_IER:
        if (divisor)
            s->dlm = value;
        else
            s->ier = value & 0x0f;
        break;
    case REG_LCR: s->lcr = value; break;
    case REG_MCR: s->mcr = value & 0x1f; break;
    case REG_SCRATCH: s->scratch = value; break;
    default: break; /* FIFO control; LSR and MSR are read-only */
    }
}
