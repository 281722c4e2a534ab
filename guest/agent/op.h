/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operations: what the host starts with EXEC, PUT, GET and DIAL. serve.c owns the table and the
 * loop and knows the kinds only through struct op_kind.
 */
#ifndef AGENT_OP_H
#define AGENT_OP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto.h"
#include "stream.h"
#include "wire.h"

#define OP_SOURCES 2

struct op;

/* Why an operation did not start, or how it ended. */
struct outcome {
    uint32_t error; /* errno */
    uint32_t fail;  /* enum proto_fail, for FAILED */
    char text[WIRE_TEXT];
};

enum op_start { OP_STARTED, OP_CONNECTING, OP_FAILED, OP_BAD_FRAME };

struct op_kind {
    /* The frame that starts it. With OP_FAILED the outcome is set; with OP_CONNECTING see ready. */
    enum op_start (*start)(struct op *op, struct cursor *cursor, struct outcome *out);
    /* DATA of the host, within its window. 0, or a negative errno that ends the connection. */
    int (*data)(struct op *op, const uint8_t *data, uint32_t size);
    /* The host sent EOF, or data before it has just been written away. */
    void (*eof)(struct op *op);
    /* Kinds that have work without waiting for a descriptor: does some; NULL when there is none. */
    void (*work)(struct op *op, struct wire *wire);
    /* SIGNAL and RESIZE; NULL: dropped. */
    void (*signal)(struct op *op, int signo);
    void (*resize)(struct op *op, uint32_t rows, uint32_t cols);
    void (*cancel)(struct op *op);
    /* All streams have ended: true when DONE can be sent, with the outcome in op->out. */
    bool (*finished)(struct op *op);
    /* Releases what is not in the sink and the sources. */
    void (*done)(struct op *op);
};

extern const struct op_kind op_exec;
extern const struct op_kind op_put;
extern const struct op_kind op_get;
extern const struct op_kind op_dial;

struct op {
    const struct op_kind *kind; /* NULL: the slot is free */
    uint32_t id;
    bool connecting; /* neither STARTED nor FAILED was sent yet */
    bool cancelled;
    struct sink sink;
    struct source sources[OP_SOURCES]; /* streams 1 and 2 */
    struct outcome out;
    uint32_t exit_code, exit_signal;

    pid_t pid; /* EXEC: 0 once it has been reaped */
    bool exited;
    bool tty;

    struct tree_pack *pack;
    struct tree_unpack *unpack;
};

/* EXEC: its process has ended with this wait status. */
void exec_ended(struct op *op, int status);

/* DIAL: the connection stands, or has failed: the outcome is set then. */
enum op_start dial_connected(struct op *op);

/* "what name: reason"; a long name is cut, the reason is not. outcome_set takes the errno's text.
 */
void outcome_say(struct outcome *out, enum proto_fail fail, int error, const char *what,
                 const char *name, const char *reason);
void outcome_set(struct outcome *out, enum proto_fail fail, int error, const char *what,
                 const char *name);

#endif
