/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile agent: process 1 of a guest that says whatever it likes to the host. The kernel command
 * line names the lie, liar=NAME; with liar=trees the path that the host wants a copy of names it.
 * It keeps the connection open and reads on when it has lied, unless that is the lie.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "link.h"
#include "proto.h"

static int host = -1;
static uint32_t id;     /* of the operation that the host has asked for */
static char wanted[64]; /* the last part of the path that a GET names: a lie about a tree */
static uint8_t big[PROTO_MAX_PAYLOAD + PROTO_HEADER + 16];

/* ---- bytes ---- */

static void put(uint8_t *p, uint64_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void hold(void)
{
    for (;;)
        pause();
}

static void send_bytes(const void *data, size_t size)
{
    const uint8_t *p = data;

    while (size > 0) {
        ssize_t n = write(host, p, size);
        if (n <= 0)
            hold(); /* the host has hung up: what it makes of us is on its side */
        p += n;
        size -= (size_t)n;
    }
}

static void take_bytes(void *data, size_t size)
{
    uint8_t *p = data;

    while (size > 0) {
        ssize_t n = read(host, p, size);
        if (n <= 0)
            hold();
        p += n;
        size -= (size_t)n;
    }
}

static void send_header(uint32_t size, unsigned type, unsigned stream, uint32_t of)
{
    uint8_t header[PROTO_HEADER];

    put(header, size, 4);
    put(header + 4, type, 2);
    put(header + 6, stream, 2);
    put(header + 8, of, 4);
    send_bytes(header, sizeof(header));
}

static void send_frame(unsigned type, unsigned stream, uint32_t of, const void *data, uint32_t size)
{
    send_header(size, type, stream, of);
    send_bytes(data, size);
}

static void send_numbers(unsigned type, unsigned stream, uint32_t of, unsigned n, uint32_t a,
                         uint32_t b, uint32_t c)
{
    uint8_t data[12];

    put(data, a, 4);
    put(data + 4, b, 4);
    put(data + 8, c, 4);
    send_frame(type, stream, of, data, 4 * n);
}

/* ---- what an honest agent would say ---- */

static void send_hello(uint32_t magic, uint32_t version, uint32_t name_size, uint32_t of)
{
    static uint8_t data[20 + 4096];

    put(data, magic, 4);
    put(data + 4, version, 4);
    put(data + 8, 1, 8);
    put(data + 16, name_size, 4);
    memset(data + 20, 'x', sizeof(data) - 20);
    send_frame(PROTO_HELLO, 0, of, data, 20 + name_size);
}

static void hello(void)
{
    send_hello(PROTO_MAGIC, PROTO_VERSION, 4, 0);
}

/* The next frame of the host, whose payload is of no interest; its type. */
static unsigned take_frame(void)
{
    uint8_t header[PROTO_HEADER];

    take_bytes(header, sizeof(header));
    take_bytes(big, get32(header) > sizeof(big) ? 0 : get32(header));
    if (get32(header + 8))
        id = get32(header + 8);
    unsigned type = get32(header + 4) & 0xffff;
    if (type == PROTO_GET && get32(big) > 1 && get32(big) < sizeof(wanted)) {
        memcpy(wanted, big + 5, get32(big) - 1);
        wanted[get32(big) - 1] = '\0';
    }
    return type;
}

static void started(void)
{
    send_numbers(PROTO_STARTED, 0, id, 1, 42, 0, 0);
}

static void done(uint32_t code, uint32_t signal, uint32_t error)
{
    uint8_t data[16] = {0};

    put(data, code, 4);
    put(data + 4, signal, 4);
    put(data + 8, error, 4);
    send_frame(PROTO_DONE, 0, id, data, sizeof(data));
}

static void finish_exec(void)
{
    send_frame(PROTO_DATA, 1, id, "lied\n", 5);
    send_frame(PROTO_EOF, 1, id, "", 0);
    send_frame(PROTO_EOF, 2, id, "", 0);
    done(0, 0, 0);
}

/* Reads on; commands are run in the way of an honest agent with nothing to do. */
static void serve(void)
{
    for (;;) {
        if (take_frame() != PROTO_EXEC)
            continue;
        started();
        finish_exec();
    }
}

static void begin_exec(void)
{
    hello();
    while (take_frame() != PROTO_EXEC)
        continue;
}

static void begin_started(void)
{
    begin_exec();
    started();
}

/* ---- trees ---- */

static void tree_bytes(const void *data, size_t size)
{
    const uint8_t *p = data;

    /* Within the first window: no tree here is larger. */
    while (size > 0) {
        uint32_t n = size > PROTO_MAX_DATA ? PROTO_MAX_DATA : (uint32_t)size;
        send_frame(PROTO_DATA, 1, id, p, n);
        p += n;
        size -= n;
    }
}

static void record_sized(unsigned kind, uint32_t mode, uint64_t mtime, uint64_t size,
                         const char *path, size_t path_size, const char *body)
{
    uint8_t head[PROTO_TREE_HEADER];

    put(head, kind, 1);
    put(head + 1, mode, 4);
    put(head + 5, mtime, 8);
    put(head + 13, size, 8);
    put(head + 21, path_size, 2);
    tree_bytes(head, sizeof(head));
    tree_bytes(path, path_size);
    tree_bytes(body, strlen(body));
}

static void entry(unsigned kind, const char *path, const char *body)
{
    record_sized(kind, kind == PROTO_TREE_DIR ? 0755 : 0644, 1, strlen(body), path, strlen(path),
                 body);
}

static void tree_end(void)
{
    record_sized(PROTO_TREE_END, 0, 0, 0, "", 0, "");
    send_frame(PROTO_EOF, 1, id, "", 0);
    done(0, 0, 0);
}

static void root(void)
{
    entry(PROTO_TREE_DIR, "", "");
}

static void lie_about_path(const char *path)
{
    root();
    entry(PROTO_TREE_FILE, path, "evil");
    tree_end();
}

/* ---- the lies ---- */

static void silent(void)
{
}

static void leave(void)
{
    close(host);
}

static void quit(void)
{
    exit(3);
}

static void started_first(void)
{
    id = 1;
    started();
}

static void wrong_magic(void)
{
    send_hello(0x12345678, PROTO_VERSION, 4, 0);
}

static void wrong_version(void)
{
    send_hello(PROTO_MAGIC, PROTO_VERSION + 1, 4, 0);
}

static void long_name(void)
{
    send_hello(PROTO_MAGIC, PROTO_VERSION, 4096, 0);
}

static void hello_with_id(void)
{
    send_hello(PROTO_MAGIC, PROTO_VERSION, 4, 7);
}

static void empty_hello(void)
{
    send_frame(PROTO_HELLO, 0, 0, "", 0);
}

static void largest_hello(void)
{
    send_frame(PROTO_HELLO, 0, 0, big, PROTO_MAX_PAYLOAD);
}

static void oversized(void)
{
    send_header(PROTO_MAX_PAYLOAD + 1, PROTO_HELLO, 0, 0);
}

static void endless_size(void)
{
    send_header(0xffffffff, PROTO_HELLO, 0, 0);
}

static void half_header(void)
{
    send_bytes("\x14\0\0\0\x01", 5);
}

static void half_frame(void)
{
    send_header(1000, PROTO_HELLO, 0, 0);
    send_bytes("LUM1", 4);
    close(host);
}

static void noise(void)
{
    for (size_t i = 0; i < sizeof(big); i++)
        big[i] = (uint8_t)(i * 131 + (i >> 8) * 17 + 0x55);
    for (;;)
        send_bytes(big, sizeof(big));
}

static void slow_hello(void)
{
    /* "LUM1", version 1, a clock, a name: one byte after the other. */
    static const uint8_t whole[] = {24,  0,   0,   0,   1, 0, 0, 0, 0,   0,   0,   0,
                                    'L', 'U', 'M', '1', 1, 0, 0, 0, 1,   0,   0,   0,
                                    0,   0,   0,   0,   4, 0, 0, 0, 's', 'l', 'o', 'w'};

    for (size_t i = 0; i < sizeof(whole); i++) {
        send_bytes(whole + i, 1);
        usleep(20000);
    }
}

static void hello_twice(void)
{
    hello();
    hello();
}

static void unknown_id(void)
{
    hello();
    id = 0x7fffffff;
    for (;;)
        started();
}

static void no_answer(void)
{
    begin_exec();
}

static void started_twice(void)
{
    begin_started();
    started();
}

static void started_short(void)
{
    begin_exec();
    send_frame(PROTO_STARTED, 0, id, "", 0);
}

static void done_first(void)
{
    begin_exec();
    done(0, 0, 0);
}

static void done_large(void)
{
    begin_started();
    done(70000, 0, 0);
}

static void done_signal(void)
{
    begin_started();
    done(0, 65, 0);
}

static void done_twice(void)
{
    begin_started();
    finish_exec();
    done(7, 0, 0);
}

static void data_after_done(void)
{
    begin_started();
    finish_exec();
    send_frame(PROTO_DATA, 1, id, "more", 4);
    send_frame(PROTO_EOF, 1, id, "", 0);
}

static void data_after_eof(void)
{
    begin_started();
    send_frame(PROTO_EOF, 1, id, "", 0);
    send_frame(PROTO_DATA, 1, id, "more", 4);
}

static void data_first(void)
{
    begin_exec();
    send_frame(PROTO_DATA, 1, id, "x", 1);
}

static void data_empty(void)
{
    begin_started();
    send_frame(PROTO_DATA, 1, id, "", 0);
}

static void data_large(void)
{
    begin_started();
    send_frame(PROTO_DATA, 1, id, big, PROTO_MAX_DATA + 1);
}

static void data_flood(void)
{
    begin_started();
    for (;;)
        send_frame(PROTO_DATA, 1, id, big, PROTO_MAX_DATA);
}

static void data_to_input(void)
{
    begin_started();
    send_frame(PROTO_DATA, 0, id, "x", 1);
}

static void no_such_stream(void)
{
    begin_started();
    send_frame(PROTO_DATA, 9, id, "x", 1);
}

static void no_such_type(void)
{
    begin_started();
    send_frame(0xbeef, 0, id, "x", 1);
}

static void host_type(void)
{
    begin_started();
    send_frame(PROTO_EXEC, 0, id, big, 64);
}

static void credit_overflow(void)
{
    begin_started();
    for (;;)
        send_numbers(PROTO_CREDIT, 0, id, 1, 0xffffffff, 0, 0);
}

static void credit_short(void)
{
    begin_started();
    send_frame(PROTO_CREDIT, 0, id, "abc", 3);
}

static void credit_for_output(void)
{
    begin_started();
    send_numbers(PROTO_CREDIT, 1, id, 1, 1, 0, 0);
}

static void failed(const char *text, uint32_t size)
{
    put(big, 5, 4);
    put(big + 4, PROTO_FAIL_NO_EXEC, 4);
    put(big + 8, size, 4);
    memset(big + 12, 'y', size);
    memcpy(big + 12, text, strlen(text));
    send_frame(PROTO_FAILED, 0, id, big, 12 + size);
}

static void failed_ugly(void)
{
    static const char text[] = "\x1b[2J\x1b]0;owned\x07two\nlines\r\xff\xfe\x80 %s%n";

    begin_exec();
    failed(text, sizeof(text) - 1);
}

static void failed_huge(void)
{
    begin_exec();
    failed("", 200000);
}

static void failed_late(void)
{
    begin_started();
    failed("late", 4);
}

static void failed_lying_size(void)
{
    begin_exec();
    put(big, 5, 4);
    put(big + 4, 0, 4);
    put(big + 8, 0xffffffff, 4);
    send_frame(PROTO_FAILED, 0, id, big, 20);
}

static void deaf(void)
{
    begin_started();
    hold();
}

static void hard_of_hearing(void)
{
    uint8_t byte;

    begin_started();
    for (;;) {
        take_bytes(&byte, 1);
        sleep(1);
    }
}

static void cut_off(void)
{
    begin_started();
    send_header(100, PROTO_DATA, 1, id);
    send_bytes("half", 4);
    close(host);
}

static void bye_flood(void)
{
    begin_started();
    for (int i = 0; i < 10000; i++)
        send_frame(PROTO_BYE, 0, 0, "", 0);
    finish_exec();
}

static void flood_after_bye(void)
{
    hello();
    for (;;)
        send_frame(PROTO_BYE, 0, 0, "", 0);
}

/* Answers exec and nothing that would end it. */
static void endless(void)
{
    hello();
    for (;;)
        if (take_frame() == PROTO_EXEC)
            started();
}

static void dial_data_first(void)
{
    hello();
    while (take_frame() != PROTO_DIAL)
        continue;
    send_frame(PROTO_DATA, 1, id, "x", 1);
}

static void put_refuses(void)
{
    hello();
    while (take_frame() != PROTO_PUT)
        continue;
    send_frame(PROTO_STARTED, 0, id, "", 0);
    send_frame(PROTO_CLOSED, 0, id, "", 0);
    done(0, 0, 28);
}

/* ---- lies in a copy ---- */

static void path_absolute(void)
{
    lie_about_path("/tmp/escaped");
}

static void path_up(void)
{
    lie_about_path("../escaped");
}

static void path_up_inside(void)
{
    lie_about_path("a/../../escaped");
}

static void path_dot(void)
{
    lie_about_path(".");
}

static void path_up_alone(void)
{
    lie_about_path("..");
}

static void path_trailing(void)
{
    lie_about_path("a/");
}

static void path_no_parent(void)
{
    lie_about_path("nowhere/file");
}

static void path_nul(void)
{
    root();
    record_sized(PROTO_TREE_FILE, 0644, 1, 4, "a\0b", 3, "evil");
    tree_end();
}

static void path_long(void)
{
    static char path[PROTO_MAX_PATH + 100];

    memset(path, 'p', sizeof(path) - 1);
    lie_about_path(path);
}

static void name_long(void)
{
    static char path[400];

    memset(path, 'n', 300);
    lie_about_path(path);
}

static void through_link(void)
{
    root();
    entry(PROTO_TREE_LINK, "l", "..");
    entry(PROTO_TREE_FILE, "l/escaped", "evil");
    tree_end();
}

static void folder_over_link(void)
{
    root();
    entry(PROTO_TREE_LINK, "l", "..");
    entry(PROTO_TREE_DIR, "l", "");
    entry(PROTO_TREE_FILE, "l/escaped", "evil");
    tree_end();
}

/* Honest enough: the link is replaced and what it points to is not touched. */
static void file_over_link(void)
{
    root();
    entry(PROTO_TREE_LINK, "l", "../victim");
    entry(PROTO_TREE_FILE, "l", "evil");
    tree_end();
}

static void root_link(void)
{
    entry(PROTO_TREE_LINK, "", "..");
    entry(PROTO_TREE_FILE, "escaped", "evil");
    tree_end();
}

static void root_twice(void)
{
    root();
    entry(PROTO_TREE_DIR, "", "");
    tree_end();
}

static void no_root(void)
{
    entry(PROTO_TREE_FILE, "escaped", "evil");
    tree_end();
}

static void twice(void)
{
    root();
    entry(PROTO_TREE_FILE, "a", "first");
    entry(PROTO_TREE_FILE, "a", "second");
    entry(PROTO_TREE_DIR, "a", "");
    tree_end();
}

static void device(void)
{
    root();
    record_sized(5, 0666, 1, 0, "dev", 3, "");
    tree_end();
}

static void odd_mode(void)
{
    root();
    record_sized(PROTO_TREE_FILE, 0100644 | 04000, 1, 4, "m", 1, "evil");
    tree_end();
}

static void set_id(void)
{
    root();
    record_sized(PROTO_TREE_FILE, 07777, INT64_MAX, 4, "suid", 4, "evil");
    tree_end();
}

static void folder_with_size(void)
{
    root();
    record_sized(PROTO_TREE_DIR, 0755, 1, 4, "d", 1, "evil");
    tree_end();
}

static void file_shorter(void)
{
    root();
    record_sized(PROTO_TREE_FILE, 0644, 1, 1000000, "f", 1, "short");
    send_frame(PROTO_EOF, 1, id, "", 0);
    done(0, 0, 0);
}

static void file_longer(void)
{
    root();
    record_sized(PROTO_TREE_FILE, 0644, 1, 2, "f", 1, "longer than it said it would be");
    tree_end();
}

static void file_endless(void)
{
    root();
    record_sized(PROTO_TREE_FILE, 0644, 1, UINT64_MAX, "f", 1, "");
    /* As fast as the host gives credit, which comes for 64 KiB and more. */
    do {
        send_frame(PROTO_DATA, 1, id, big, PROTO_MAX_DATA);
        send_frame(PROTO_DATA, 1, id, big, PROTO_MAX_DATA);
    } while (take_frame() == PROTO_CREDIT);
}

static void link_empty(void)
{
    root();
    record_sized(PROTO_TREE_LINK, 0777, 1, 0, "l", 1, "");
    tree_end();
}

static void link_huge(void)
{
    root();
    record_sized(PROTO_TREE_LINK, 0777, 1, 1ull << 40, "l", 1, "x");
    tree_end();
}

static void too_deep(void)
{
    static char path[PROTO_MAX_PATH];

    root();
    for (unsigned i = 0; i < 200; i++) {
        strcat(path, i ? "/d" : "d");
        entry(PROTO_TREE_DIR, path, "");
    }
    tree_end();
}

static void error_record(void)
{
    root();
    record_sized(PROTO_TREE_ERROR, 13, 0, 0, "secret", 6, "");
    send_frame(PROTO_EOF, 1, id, "", 0);
    done(0, 0, 13);
}

static void error_absurd(void)
{
    root();
    record_sized(PROTO_TREE_ERROR, 0xffffffff, 0, 0, "\x1b[31mred\n", 9, "");
    send_frame(PROTO_EOF, 1, id, "", 0);
    done(0, 0, 0xffffffff);
}

static void after_end(void)
{
    root();
    record_sized(PROTO_TREE_END, 0, 0, 0, "", 0, "");
    entry(PROTO_TREE_FILE, "late", "evil");
    send_frame(PROTO_EOF, 1, id, "", 0);
    done(0, 0, 0);
}

static void no_end(void)
{
    root();
    entry(PROTO_TREE_FILE, "only", "this");
    send_frame(PROTO_EOF, 1, id, "", 0);
    done(0, 0, 0);
}

static void end_with_fields(void)
{
    root();
    record_sized(PROTO_TREE_END, 1, 1, 1, "end", 3, "");
    send_frame(PROTO_EOF, 1, id, "", 0);
    done(0, 0, 0);
}

static void never_comes(void)
{
    root();
}

#define LIE(name)                                                                                  \
    {                                                                                              \
#name, name                                                                                \
    }

struct lie {
    const char *name;
    void (*tell)(void);
};

static bool tell(const struct lie *list, const char *name)
{
    for (; list->name; list++)
        if (strcmp(list->name, name) == 0) {
            list->tell();
            return true;
        }
    return false;
}

static const struct lie tree_lies[] = {
    LIE(path_absolute),  LIE(path_up),         LIE(path_up_inside),
    LIE(path_dot),       LIE(path_up_alone),   LIE(path_trailing),
    LIE(path_no_parent), LIE(path_nul),        LIE(path_long),
    LIE(name_long),      LIE(through_link),    LIE(folder_over_link),
    LIE(file_over_link), LIE(root_link),       LIE(root_twice),
    LIE(no_root),        LIE(twice),           LIE(device),
    LIE(odd_mode),       LIE(set_id),          LIE(folder_with_size),
    LIE(file_shorter),   LIE(file_longer),     LIE(file_endless),
    LIE(link_empty),     LIE(link_huge),       LIE(too_deep),
    LIE(error_record),   LIE(error_absurd),    LIE(after_end),
    LIE(no_end),         LIE(end_with_fields), LIE(never_comes),
    {NULL, NULL},
};

/* Any number of copies, each lied about in the way that its path asks for. */
static void trees(void)
{
    hello();
    for (;;) {
        if (take_frame() != PROTO_GET)
            continue;
        send_frame(PROTO_STARTED, 0, id, "", 0);
        if (!tell(tree_lies, wanted))
            done(0, 0, 22);
    }
}

static const struct lie lies[] = {
    LIE(silent),
    LIE(leave),
    LIE(quit),
    LIE(started_first),
    LIE(wrong_magic),
    LIE(wrong_version),
    LIE(long_name),
    LIE(hello_with_id),
    LIE(empty_hello),
    LIE(largest_hello),
    LIE(oversized),
    LIE(endless_size),
    LIE(half_header),
    LIE(half_frame),
    LIE(noise),
    LIE(slow_hello),
    LIE(hello_twice),
    LIE(unknown_id),
    LIE(no_answer),
    LIE(started_twice),
    LIE(started_short),
    LIE(done_first),
    LIE(done_large),
    LIE(done_signal),
    LIE(done_twice),
    LIE(data_after_done),
    LIE(data_after_eof),
    LIE(data_first),
    LIE(data_empty),
    LIE(data_large),
    LIE(data_flood),
    LIE(data_to_input),
    LIE(no_such_stream),
    LIE(no_such_type),
    LIE(host_type),
    LIE(credit_overflow),
    LIE(credit_short),
    LIE(credit_for_output),
    LIE(failed_ugly),
    LIE(failed_huge),
    LIE(failed_late),
    LIE(failed_lying_size),
    LIE(deaf),
    LIE(hard_of_hearing),
    LIE(cut_off),
    LIE(bye_flood),
    LIE(flood_after_bye),
    LIE(endless),
    LIE(dial_data_first),
    LIE(put_refuses),
    LIE(trees),
    {NULL, NULL},
};

/* The value of a word of the kernel command line, or "". */
static const char *word(const char *cmdline, const char *key, char *buf, size_t size)
{
    const char *p = strstr(cmdline, key);

    snprintf(buf, size, "%s", p ? p + strlen(key) : "");
    buf[strcspn(buf, " \n")] = '\0';
    return buf;
}

int main(void)
{
    static char cmdline[4096];
    char agent[64], name[64];

    mkdir("/sys", 0755);
    mount("proc", "/proc", "proc", 0, NULL);
    mount("dev", "/dev", "devtmpfs", 0, NULL);
    mount("sys", "/sys", "sysfs", 0, NULL);
    int fd = open("/proc/cmdline", O_RDONLY);
    if (fd < 0 || read(fd, cmdline, sizeof(cmdline) - 1) < 0)
        return 1;
    host = link_open(word(cmdline, "lumina.agent=", agent, sizeof(agent)));
    word(cmdline, "liar=", name, sizeof(name));
    if (tell(lies, name))
        serve();
    return 2;
}
