/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keyboard controller, with nothing plugged in that types: every command that asks gets its
 * answer in the next read, because a kernel that waits for one polls ten thousand times, an exit
 * each. The auxiliary port does not exist. What is of use is the reset line.
 */
#include "dev/dev.h"

enum { PORT_DATA = 0, PORT_COMMAND = 4 };

enum command {
    CMD_NONE = 0,
    CMD_READ_CONTROL = 0x20,
    CMD_WRITE_CONTROL = 0x60,
    CMD_AUX_OFF = 0xa7,
    CMD_AUX_ON = 0xa8,
    CMD_AUX_TEST = 0xa9,
    CMD_SELF_TEST = 0xaa,
    CMD_KEYBOARD_TEST = 0xab,
    CMD_KEYBOARD_OFF = 0xad,
    CMD_KEYBOARD_ON = 0xae,
    CMD_READ_OUTPUT_PORT = 0xd0,
    CMD_WRITE_OUTPUT_PORT = 0xd1,
    CMD_LOOP_KEYBOARD = 0xd2,
    CMD_LOOP_AUX = 0xd3,
    CMD_WRITE_AUX = 0xd4,
    CMD_PULSE = 0xf0, /* low four bits: output lines that stay up */
};

#define STATUS_OUTPUT_FULL 0x01u
#define STATUS_SYSTEM      0x04u /* passed its self test */
#define STATUS_UNLOCKED    0x10u

#define CONTROL_KEYBOARD_OFF 0x10u
#define CONTROL_AUX_OFF      0x20u

#define OUTPUT_NO_RESET 0x01u /* the line is active low */
#define OUTPUT_A20      0x02u

#define SELF_TEST_PASSED 0x55u
#define KEYBOARD_OK      0x00u
#define AUX_CLOCK_STUCK  0x01u
#define ACK              0xfau
#define RESEND           0xfeu

static void answer(struct i8042 *k, uint8_t value)
{
    k->output = value;
    k->has_output = true;
}

uint8_t i8042_read(struct i8042 *k, uint16_t offset)
{
    if (offset == PORT_COMMAND)
        return (uint8_t)(STATUS_SYSTEM | STATUS_UNLOCKED |
                         (k->has_output ? STATUS_OUTPUT_FULL : 0));
    if (offset != PORT_DATA)
        return 0xff;
    k->has_output = false;
    return k->output;
}

/* A byte for the command before it, or else for the keyboard. */
static bool write_data(struct i8042 *k, uint8_t value)
{
    uint8_t command = k->command;

    k->command = CMD_NONE;
    switch (command) {
    case CMD_WRITE_CONTROL: k->control = value; break;
    case CMD_WRITE_OUTPUT_PORT: return !(value & OUTPUT_NO_RESET);
    case CMD_LOOP_KEYBOARD:
    case CMD_LOOP_AUX: answer(k, value); break; /* not marked as auxiliary: there is no such port */
    case CMD_WRITE_AUX: answer(k, RESEND); break;
    default: answer(k, ACK); break;
    }
    return false;
}

static bool write_command(struct i8042 *k, uint8_t value)
{
    k->command = CMD_NONE;
    if (value >= CMD_PULSE)
        return !(value & OUTPUT_NO_RESET);
    switch (value) {
    case CMD_READ_CONTROL: answer(k, k->control); break;
    case CMD_SELF_TEST: answer(k, SELF_TEST_PASSED); break;
    case CMD_KEYBOARD_TEST: answer(k, KEYBOARD_OK); break;
    case CMD_AUX_TEST: answer(k, AUX_CLOCK_STUCK); break;
    case CMD_KEYBOARD_OFF: k->control |= CONTROL_KEYBOARD_OFF; break;
    case CMD_KEYBOARD_ON: k->control &= (uint8_t)~CONTROL_KEYBOARD_OFF; break;
    case CMD_AUX_OFF: k->control |= CONTROL_AUX_OFF; break;
    case CMD_AUX_ON: k->control &= (uint8_t)~CONTROL_AUX_OFF; break;
    case CMD_READ_OUTPUT_PORT: answer(k, OUTPUT_NO_RESET | OUTPUT_A20); break;
    case CMD_WRITE_CONTROL:
    case CMD_WRITE_OUTPUT_PORT:
    case CMD_LOOP_KEYBOARD:
    case CMD_LOOP_AUX:
    case CMD_WRITE_AUX: k->command = value; break; /* a data byte follows */
    default: break;
    }
    return false;
}

bool i8042_write(struct i8042 *k, uint16_t offset, uint8_t value)
{
    if (offset == PORT_COMMAND)
        return write_command(k, value);
    return offset == PORT_DATA && write_data(k, value);
}
