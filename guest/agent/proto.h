/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent protocol: how the worker on the host and lumina-init in the guest talk over one byte
 * stream (vsock port AGENT_PORT on the host, or a virtio-serial port). Shared by both ends; C99, no
 * dependencies. All numbers little-endian. Each end trusts nothing of what the other sends.
 *
 * Stream = frames. Frame = header of 12 bytes, then `size` bytes of payload:
 *     u32 size    payload bytes, at most PROTO_MAX_PAYLOAD
 *     u16 type    enum proto_type
 *     u16 stream  for DATA, CREDIT, EOF: 0, 1 or 2; else 0
 *     u32 id      operation; 0 for the connection itself
 * Strings in payloads: u32 length, bytes, no terminator, no NUL inside.
 *
 * Life of the connection: the guest sends HELLO; the host answers WELCOME; then the host starts
 * operations with ids of its choice (non-zero, not in use). The guest answers each with exactly one
 * STARTED or FAILED, and each STARTED with exactly one DONE, after which the id is free: DONE is
 * the last frame of an operation in both directions (host frames for an id that is unknown are
 * dropped silently, they crossed the DONE).
 *
 * Flow control: DATA on a stream needs credit. Each stream starts with PROTO_WINDOW bytes in each
 * direction it has; the receiver returns credit as it consumes. Sending beyond it ends the
 * connection. An EOF frame needs no credit.
 *
 * Streams of operations (h: written by the host, g: by the guest):
 *     EXEC  0 stdin h, 1 stdout g, 2 stderr g (none with a terminal)
 *     PUT   0 tree h        GET  1 tree g        (tree: see below)
 *     DIAL  0 to the port h, 1 from the port g
 * DONE of an EXEC comes after EOF of streams 1 and 2: when the command's process has ended, the
 * agent sends what its pipes hold at that moment, EOF for both, then DONE; what processes left
 * behind write later is read and dropped.
 */
#ifndef LUMINA_PROTO_H
#define LUMINA_PROTO_H

#define PROTO_VERSION     1u
#define PROTO_MAGIC       0x314d554cu /* "LUM1" */
#define PROTO_HEADER      12u
#define PROTO_MAX_PAYLOAD (256u * 1024)
#define PROTO_WINDOW      (256u * 1024)
#define PROTO_MAX_DATA    (32u * 1024) /* of one DATA frame */
#define PROTO_MAX_OPS     256u
#define AGENT_PORT        1024u
#define AGENT_SERIAL_NAME "lumina.agent"

enum proto_type {
    /* connection, id 0 */
    PROTO_HELLO = 1, /* g: u32 magic, u32 version, u64 nanoseconds of guest monotonic clock, string
                        kernel release */
    PROTO_WELCOME = 2, /* h: u32 magic, u32 version, u64 wall clock ns since 1970, u32 n, n bytes of
                          entropy (at most 256) */
    PROTO_SHUTDOWN = 3, /* h: empty. SIGTERM to all, then after u32 ms grace SIGKILL, sync, power
                           off. payload: u32 grace ms */

    PROTO_BYE =
        4, /* g: empty: shutting down orderly; a reset of the machine that follows is its end
            */

    /* operations */
    PROTO_EXEC = 16, /* h: see struct comment below */
    PROTO_PUT = 17, /* h: string guest path, string name (own name of the source, for a path that is
                       a folder or ends in '/') */
    PROTO_GET = 18, /* h: string guest path */
    PROTO_DIAL = 19,    /* h: u32 vsock port, connected inside the guest (VMADDR_CID_LOCAL) */
    PROTO_STARTED = 24, /* g: EXEC: u32 pid; else empty */
    PROTO_FAILED = 25,  /* g: u32 errno (Linux numbers), u32 enum proto_fail, string text */
    PROTO_DONE = 26,    /* g: u32 exit code, u32 signal, u32 errno (PUT, GET, DIAL: 0 or what went
                           wrong; EXEC: 0, or ENOMEM after 137 in a guest that had run out of
                           memory), string text */

    /* in an operation */
    PROTO_DATA = 32,   /* both: 1 to PROTO_MAX_DATA bytes */
    PROTO_CREDIT = 33, /* both: u32 bytes consumed */
    PROTO_EOF = 34,    /* both: end of this stream, from its writer */
    PROTO_CLOSED = 35, /* g: the reader of this h-stream is gone: stop sending, what comes is
                          dropped (credit still returned) */
    PROTO_SIGNAL = 36, /* h: u32 signal for the command's process group */
    PROTO_RESIZE = 37, /* h: u32 rows, u32 columns */
    PROTO_CANCEL = 38  /* h: end the operation now (EXEC: SIGKILL to the process group and its
                          session); DONE still follows */
};

/* Where an EXEC failed, for exit codes 127, 126 and the rest. */
enum proto_fail {
    PROTO_FAIL_OTHER = 0,
    PROTO_FAIL_NO_COMMAND = 1, /* 127 */
    PROTO_FAIL_NO_EXEC = 2,    /* 126 */
    PROTO_FAIL_CWD = 3,
    PROTO_FAIL_USER = 4,
    PROTO_FAIL_BUSY = 5 /* PROTO_MAX_OPS reached */
};

/*
 * EXEC payload: u32 flags, u32 rows, u32 cols, string cwd ("" = home), string user ("" = root;
 * "name", "uid", "uid:gid"), u32 n, n argv strings (n >= 1, <= 4096), u32 m, m environment strings
 * (added over the default PATH, HOME, USER and, with a terminal, TERM).
 */
enum proto_exec_flag {
    PROTO_EXEC_TTY = 1,
    PROTO_EXEC_STDIN =
        2 /* without it stdin is /dev/null (with a terminal: the terminal without input) */
};

/*
 * Tree stream, a copy of one file or folder: records, each
 *     u8 kind     enum proto_tree
 *     u32 mode    permission bits (07777)
 *     u64 mtime   seconds since 1970
 *     u64 size    FILE: bytes that follow; LINK: bytes of target that follow; else 0
 *     u16 n, n bytes of path relative to the root of the copy; "" for the root itself, which comes
 * first then `size` bytes. Parents come before children. END (all other fields 0) is last; without
 * it the copy was cut off. Paths never start with '/', hold no "", "." or ".." component and are at
 * most PROTO_MAX_PATH bytes. ERROR: the sender could not go on: u8 kind, u32 errno in mode, rest as
 * above with the path that failed.
 */
enum proto_tree {
    PROTO_TREE_END = 0,
    PROTO_TREE_FILE = 1,
    PROTO_TREE_DIR = 2,
    PROTO_TREE_LINK = 3,
    PROTO_TREE_ERROR = 4
};
#define PROTO_TREE_HEADER 23u
#define PROTO_MAX_PATH    4096u

/*
 * Kernel command line that the agent reads:
 *     lumina.agent=vsock | NAME     how to reach the host
 *     lumina.root=erofs | ext4 | initrd   /dev/vda of that kind, or the initramfs it runs from
 *     lumina.ro=1                   no writable layer
 *     lumina.scratch=BYTES          size limit of the writable tmpfs layer
 *     lumina.hostname=NAME
 */

#endif
