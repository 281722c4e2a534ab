/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The QMP client: message by message, then against a QEMU played by this test at the other end of a
 * socket pair: answers out of order, split and merged lines, endless lines, nonsense, silence.
 */
#include <stdlib.h>
#include <string.h>

#include "machine/qemu/qmp.h"
#include "tap.h"

/* ---- one message ---- */

static int parse(const char *line, struct qmp_message *ret_message)
{
    struct lum_error err = {0};
    int rc = qmp_parse(line, strlen(line), ret_message, &err);

    if (rc < 0 && (err.code != rc || err.text[0] == '\0'))
        abort();
    return rc;
}

static void test_messages(void)
{
    static const char *const bad[] = {
        "",
        "{",
        "[]",
        "17",
        "null",
        "{}",
        "{\"event\":3}",
        "{\"event\":\"A\",\"event\":\"B\"}",
        "{\"return\":{}} {\"return\":{}}",
        "{\"id\":1}",
        "{\"QMP\"}",
        "{\"event\":\"\xff\xfe\"}",
    };
    struct qmp_message m;

    ok(parse("{\"QMP\":{\"version\":{\"qemu\":{\"micro\":22,\"minor\":2,\"major\":7},"
             "\"package\":\"x\"},\"capabilities\":[\"oob\"]}}\r",
             &m) == 0 &&
           m.kind == QMP_GREETING && strcmp(m.text, "7.2.22") == 0,
       "greeting tells the version");
    ok(parse("{\"return\":{},\"id\":7}", &m) == 0 && m.kind == QMP_RETURN && m.id == 7, "return");
    ok(parse("{\"return\":{}}", &m) == 0 && m.id == -1, "return without an id");
    ok(parse("{\"return\":{},\"id\":\"7\"}", &m) == 0 && m.id == -1, "return with a text as id");
    ok(parse("{\"return\":{},\"id\":-3}", &m) == 0 && m.id == -1, "return with a negative id");
    ok(parse("{\"error\":{\"class\":\"G\",\"desc\":\"no\\nway\"},\"id\":1}", &m) == 0 &&
           m.kind == QMP_ERROR && strcmp(m.text, "no?way") == 0,
       "error text is one line");
    ok(parse("{\"error\":5,\"id\":1}", &m) == 0 && m.kind == QMP_ERROR &&
           strcmp(m.text, "QEMU does not say why") == 0,
       "error without a text");
    ok(parse("{\"timestamp\":{\"seconds\":1},\"event\":\"SHUTDOWN\",\"data\":{\"guest\":true,"
             "\"reason\":\"guest-reset\"}}",
             &m) == 0 &&
           m.kind == QMP_EVENT && strcmp(m.name, "SHUTDOWN") == 0 &&
           strcmp(m.text, "guest-reset") == 0,
       "event with a reason");
    ok(parse("{\"event\":\"STOP\"}", &m) == 0 && m.text[0] == '\0', "event without data");
    ok(parse("{\"event\":\"STOP\",\"data\":[1]}", &m) == 0 && m.text[0] == '\0',
       "event with strange data");
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        memset(&m, 0x5a, sizeof(m));
        ok(parse(bad[i], &m) == LUM_EGUEST && m.id == 0x5a5a5a5a5a5a5a5a,
           "refused, nothing written: '%s'", i == 11 ? "bytes that are not UTF-8" : bad[i]);
    }
}

static void test_long_and_deep(void)
{
    enum { SIZE = QMP_MAX_LINE };
    static char line[SIZE];
    struct lum_error err;
    struct qmp_message m;

    memset(line, '[', SIZE);
    ok(qmp_parse(line, SIZE, &m, &err) == LUM_EGUEST, "nested 32768 deep: refused");

    memset(line, 'x', SIZE);
    memcpy(line, "{\"event\":\"", 10);
    memcpy(line + SIZE - 2, "\"}", 2);
    ok(qmp_parse(line, SIZE, &m, &err) == 0 && strlen(m.name) == sizeof(m.name) - 1,
       "a name of 32 KiB is cut");
}

/* Every cut and many one-byte changes of a real event: an answer or an error, never a crash. */
static void test_damage(void)
{
    static const char event[] =
        "{\"event\":\"SHUTDOWN\",\"data\":{\"guest\":true,\"reason\":\"r\"},"
        "\"id\":12,\"return\":{\"a\":[1,2,{\"b\":null}]}}";
    size_t size = sizeof(event) - 1, wrong = 0;
    struct lum_error err;
    struct qmp_message m;
    char copy[sizeof(event)];

    for (size_t cut = 0; cut < size; cut++)
        if (qmp_parse(event, cut, &m, &err) != LUM_EGUEST)
            wrong++;
    ok(wrong == 0, "each of %zu cuts is refused", size);

    for (size_t at = 0; at < size; at++) {
        for (unsigned v = 0; v < 256; v++) {
            memcpy(copy, event, sizeof(event));
            copy[at] = (char)v;
            int rc = qmp_parse(copy, size, &m, &err);
            if (rc != 0 && rc != LUM_EGUEST)
                wrong++;
        }
    }
    ok(wrong == 0, "each of %zu changes of one byte gives an answer", size * 256);
}

/* ---- a conversation ---- */

struct talk {
    struct plat_loop *loop;
    struct plat_timer *stop;
    struct qmp qmp;
    plat_fd far;
    unsigned greetings, events, ends;
    char version[64], last[64], why[200];
    unsigned answers;
    int rc[16];
};

static void on_greeted(void *ctx, const char *version)
{
    struct talk *t = ctx;

    t->greetings++;
    snprintf(t->version, sizeof(t->version), "%s", version);
}

static void on_event(void *ctx, const char *name, const char *reason)
{
    struct talk *t = ctx;

    t->events++;
    snprintf(t->last, sizeof(t->last), "%s %s", name, reason);
}

static void on_broken(void *ctx, const char *why)
{
    struct talk *t = ctx;

    t->ends++;
    snprintf(t->why, sizeof(t->why), "%s", why);
}

static void on_answer(void *ctx, int rc, const char *why)
{
    struct talk *t = ctx;

    (void)why;
    t->rc[t->answers++ % ARRAY_LEN(t->rc)] = rc;
}

static void must(int rc, const struct lum_error *err)
{
    if (rc < 0) {
        printf("Bail out! %s\n", err->text);
        exit(1);
    }
}

static void open_talk(struct talk *t)
{
    const struct qmp_owner owner = {
        .ctx = t, .greeted = on_greeted, .event = on_event, .broken = on_broken};
    struct lum_error err;
    plat_fd pair[2];

    *t = (struct talk){.far = PLAT_FD_NONE};
    must(plat_loop_create(&t->loop, &err), &err);
    must(plat_socketpair(pair, &err), &err);
    t->far = pair[0];
    qmp_init(&t->qmp);
    must(qmp_open(&t->qmp, t->loop, &pair[1], &owner, &err), &err);
    ok(pair[1] == PLAT_FD_NONE, "the socket is taken");
}

static void close_talk(struct talk *t)
{
    qmp_abort(&t->qmp, LUM_EGONE, "over");
    plat_close(&t->far);
    plat_loop_free(t->loop);
}

static void say(struct talk *t, const char *text)
{
    if (plat_write(t->far, text, strlen(text)) != (ssize_t)strlen(text))
        abort();
    qmp_drain(&t->qmp);
}

/* What the client has written so far. */
static void hear(struct talk *t, char *buf, size_t size)
{
    ssize_t n =
        plat_wait_fd(t->far, false, PLAT_FD_NONE, 0) == 1 ? plat_read(t->far, buf, size - 1) : 0;

    buf[n < 0 ? 0 : n] = '\0';
}

static void test_conversation(void)
{
    struct talk t;
    char heard[1024];

    open_talk(&t);
    hear(&t, heard, sizeof(heard));
    ok(strcmp(heard, "{\"execute\":\"qmp_capabilities\",\"id\":0}\n") == 0, "negotiates at once");
    say(&t, "{\"QMP\":{\"version\":{\"qemu\":{\"major\":10,\"minor\":0,\"micro\":2}}}}\r\n{\"ret");
    ok(t.greetings == 1 && strcmp(t.version, "10.0.2") == 0, "greeting");
    say(&t, "urn\":{},\"id\":0}\r\n");
    ok(t.ends == 0, "a line in two pieces");

    qmp_execute(&t.qmp, "stop", on_answer, &t);
    qmp_execute(&t.qmp, "cont", on_answer, &t);
    hear(&t, heard, sizeof(heard));
    ok(strcmp(heard, "{\"execute\":\"stop\",\"id\":1}\n{\"execute\":\"cont\",\"id\":2}\n") == 0,
       "two commands");
    say(&t,
        "{\"event\":\"STOP\"}\n{\"error\":{\"desc\":\"d\"},\"id\":2}\n{\"return\":{},\"id\":1}\n");
    ok(t.answers == 2 && t.rc[0] == LUM_EOS && t.rc[1] == 0 && t.events == 1,
       "three lines at once, answers in another order");
    say(&t, "{\"return\":{},\"id\":1}\n{\"return\":{},\"id\":99}\n{\"return\":{}}\n");
    ok(t.answers == 2 && t.ends == 0, "answers that nobody waits for change nothing");

    for (int i = 0; i < QMP_MAX_PENDING; i++)
        qmp_execute(&t.qmp, "stop", on_answer, &t);
    ok(t.answers == 2, "%d commands may wait", QMP_MAX_PENDING);
    qmp_execute(&t.qmp, "stop", on_answer, &t);
    ok(t.answers == 3 && t.rc[2] == LUM_EBUSY, "one more is refused");

    plat_close(&t.far);
    qmp_drain(&t.qmp);
    ok(t.ends == 1 && t.answers == 3 + QMP_MAX_PENDING && t.rc[3] == LUM_EGONE,
       "when QEMU closes, all that wait are told, once");
    qmp_execute(&t.qmp, "stop", on_answer, &t);
    ok(t.answers == 4 + QMP_MAX_PENDING && t.rc[3 + QMP_MAX_PENDING] == LUM_EGONE,
       "and so are later ones");
    qmp_drain(&t.qmp);
    ok(t.ends == 1, "the end is told once");
    close_talk(&t);
}

static void test_nonsense(void)
{
    struct talk t;

    open_talk(&t);
    qmp_execute(&t.qmp, "cont", on_answer, &t);
    say(&t, "{\"event\":\"A\"}\nHTTP/1.1 200 OK\n{\"event\":\"B\"}\n");
    ok(t.ends == 1 && t.events == 1 && t.answers == 1 && t.rc[0] == LUM_EGONE,
       "nonsense ends the connection; what follows is not read");
    close_talk(&t);

    open_talk(&t);
    say(&t, "{\"error\":{\"desc\":\"not today\"},\"id\":0}\n");
    ok(t.ends == 1 && strcmp(t.why, "not today") == 0, "a refused negotiation is an end");
    close_talk(&t);
}

static void stop_loop(void *ctx)
{
    struct talk *t = ctx;

    t->ends += 100;
    plat_loop_quit(t->loop);
}

static void end_loop(void *ctx, const char *why)
{
    struct talk *t = ctx;

    on_broken(ctx, why);
    plat_loop_quit(t->loop);
}

static void write_for_ever(void *ctx)
{
    struct talk *t = ctx;
    char block[4096];

    memset(block, 'a', sizeof(block));
    for (int i = 0; i < 64; i++)
        if (plat_write(t->far, block, sizeof(block)) <= 0)
            break;
}

/* A line without an end, through the loop: the limit, not the memory of the host, ends it. */
static void test_endless_line(void)
{
    struct plat_thread *thread;
    struct lum_error err;
    struct talk t;

    open_talk(&t);
    t.qmp.owner.broken = end_loop;
    must(plat_timer_create(t.loop, stop_loop, &t, &t.stop, &err), &err);
    plat_timer_set(t.stop, 20000000000u);
    must(plat_thread_start(&thread, "writer", write_for_ever, &t, &err), &err);
    plat_loop_run(t.loop);
    ok(t.ends == 1 && strstr(t.why, "too long") != NULL, "an endless line ends it: %s", t.why);
    plat_thread_join(thread);
    plat_timer_free(t.stop);
    close_talk(&t);
}

int main(void)
{
    test_messages();
    test_long_and_deep();
    test_damage();
    test_conversation();
    test_nonsense();
    test_endless_line();
    return tap_done();
}
