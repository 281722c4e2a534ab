/* SPDX-License-Identifier: Apache-2.0 */
/* lumina run: from the options to a plan, complaining about what can be seen to be wrong by now. */
#include "cmd.h"

#include "os.h"
#include "session.h"
#include "ui.h"

#include <stdlib.h>
#include <string.h>

/* What the plan points to. */
struct storage {
    struct copy *copies; /* puts, then gets */
    size_t copy_count;
    char **owned; /* strings to free */
    size_t owned_count;
    const char **env;
};

static void storage_done(struct storage *st)
{
    for (size_t i = 0; i < st->owned_count; i++)
        free(st->owned[i]);
    free(st->owned);
    free(st->copies);
    free(st->env);
}

/* Room for one string of each option at most; true when there was memory. */
static bool storage_init(struct storage *st, size_t options)
{
    *st = (struct storage){.owned_count = 0};
    st->copies = calloc(options + 1, sizeof(*st->copies));
    /* Two paths of a copy; one for TERM. */
    st->owned = calloc(options * 2 + 1, sizeof(*st->owned));
    st->env = calloc(options + 2, sizeof(*st->env));
    return st->copies && st->owned && st->env;
}

static char *keep(struct storage *st, char *string)
{
    if (string)
        st->owned[st->owned_count++] = string;
    return string;
}

static int out_of_memory(void)
{
    ui_error("out of memory");
    return -1;
}

/* "NAME=value" of our own environment into *ret, or NULL there when it is not set. */
static int copy_variable(struct storage *st, const char *name, const char **ret)
{
    const char *value = getenv(name);
    size_t size;
    char *text;

    *ret = NULL;
    if (!value)
        return 0;
    size = strlen(name) + strlen(value) + 2;
    text = keep(st, malloc(size));
    if (!text)
        return out_of_memory();
    (void)ui_format(text, size, "%s=%s", name, value);
    *ret = text;
    return 0;
}

static int plan_env(const struct args *args, struct storage *st, struct run_plan *plan)
{
    size_t count = 0;

    /* First, so that an --env may override it. */
    if (plan->exec.flags & LUM_EXEC_TTY) {
        if (copy_variable(st, "TERM", &st->env[count]) < 0)
            return -1;
        if (st->env[count])
            count++;
    }
    for (size_t i = 0; i < args->count; i++) {
        const struct arg *arg = &args->list[i];

        if (arg->row->id != OPTION_ENV)
            continue;
        if (strchr(arg->text, '='))
            st->env[count] = arg->text;
        else if (copy_variable(st, arg->text, &st->env[count]) < 0)
            return -1;
        if (st->env[count])
            count++;
    }
    st->env[count] = NULL;
    plan->exec.env = st->env;
    return 0;
}

/* Halves of text around colon, kept. */
static int split(struct storage *st, const char *text, const char *colon, char **ret_from,
                 char **ret_to)
{
    char *from = keep(st, strndup(text, (size_t)(colon - text)));
    char *to = keep(st, strdup(colon + 1));

    if (!from || !to)
        return out_of_memory();
    *ret_from = from;
    *ret_to = to;
    return 0;
}

static int check_readable(const struct args *args, const struct arg *arg, const char *path)
{
    const char *wrong = os_unreadable(path);

    if (!wrong)
        return 0;
    ui_usage_error(args->command, "--%s %s: %s", arg->row->name, path, wrong);
    return -1;
}

static int plan_copies(const struct args *args, struct storage *st, enum option_id id,
                       struct copy **ret_list, size_t *ret_count)
{
    struct copy *list = st->copies + st->copy_count;
    size_t count = 0;

    for (size_t i = 0; i < args->count; i++) {
        const struct arg *arg = &args->list[i];
        struct copy *copy = &list[count];

        if (arg->row->id != id)
            continue;
        if (id == OPTION_GET) {
            /* Guest paths are the ones without colons, as a host may have drives. */
            if (split(st, arg->text, strchr(arg->text, ':'), &copy->guest, &copy->host) < 0)
                return -1;
        } else {
            if (split(st, arg->text, strrchr(arg->text, ':'), &copy->host, &copy->guest) < 0 ||
                check_readable(args, arg, copy->host) < 0)
                return -1;
        }
        if (copy->guest[0] != '/') {
            ui_usage_error(args->command, "--%s %s: the path in the guest must begin with /",
                           arg->row->name, arg->text);
            return -1;
        }
        count++;
    }
    st->copy_count += count;
    *ret_list = list;
    *ret_count = count;
    return 0;
}

/* A terminal when asked for, and for a bare `lumina run` that sits on one. */
static int plan_terminal(const struct args *args, struct run_plan *plan)
{
    bool asked = args_has(args, OPTION_TTY);

    plan->exec.flags = LUM_EXEC_STDIN;
    if (asked && plan->json) {
        ui_usage_error(args->command, "--tty and --json exclude each other");
        return -1;
    }
    if (asked && !os_is_terminal(0)) {
        ui_usage_error(args->command, "--tty: standard input is not a terminal");
        return -1;
    }
    if (asked || (args->word_count == 0 && !plan->json && os_is_terminal(0) && os_is_terminal(1)))
        plan->exec.flags |= LUM_EXEC_TTY;
    return 0;
}

static int plan_run(const struct args *args, struct storage *st, struct run_plan *plan)
{
    static const char *const shell[] = {"sh", NULL};

    *plan = (struct run_plan){.vm = LUM_VM_OPTIONS_INIT, .exec = LUM_EXEC_OPTIONS_INIT};
    plan->json = args_has(args, OPTION_JSON);
    plan->timing = args_has(args, OPTION_TIMING);
    plan->boot_timeout_ms = (int32_t)args_number(args, OPTION_BOOT_TIMEOUT);

    plan->vm.vcpus = (uint32_t)args_number(args, OPTION_CPUS);
    plan->vm.memory_bytes = args_number(args, OPTION_MEMORY);
    plan->vm.backend = args_text(args, OPTION_BACKEND);
    plan->vm.jail = args_text(args, OPTION_JAIL);
    plan->vm.kernel = args_text(args, OPTION_KERNEL);
    plan->vm.kernel_args = args_text(args, OPTION_KERNEL_ARGS);
    plan->vm.rootfs = args_text(args, OPTION_ROOTFS);
    plan->vm.read_only = args_has(args, OPTION_READ_ONLY);
    plan->vm.scratch_bytes = args_number(args, OPTION_SCRATCH);
    plan->vm.hostname = args_text(args, OPTION_HOSTNAME);

    plan->exec.argv = args->word_count > 0 ? (const char *const *)args->words : shell;
    plan->exec.cwd = args_text(args, OPTION_WORKDIR);
    plan->exec.user = args_text(args, OPTION_USER);
    plan->exec.timeout_ms = (int32_t)args_number(args, OPTION_TIMEOUT);

    for (size_t i = 0; i < args->count; i++) {
        if (args->list[i].row->kind == VALUE_PATH &&
            check_readable(args, &args->list[i], args->list[i].text) < 0)
            return -1;
    }
    if (plan_terminal(args, plan) < 0 || plan_env(args, st, plan) < 0 ||
        plan_copies(args, st, OPTION_PUT, &plan->puts, &plan->put_count) < 0 ||
        plan_copies(args, st, OPTION_GET, &plan->gets, &plan->get_count) < 0)
        return -1;
    return 0;
}

int cmd_run(const struct args *args)
{
    struct storage st;
    struct run_plan plan;
    int status = STATUS_OURS;

    if (args_has(args, OPTION_QUIET))
        ui_init(UI_QUIET);
    else
        ui_init(args_has(args, OPTION_VERBOSE) ? UI_VERBOSE : UI_NORMAL);
    if (!storage_init(&st, args->count))
        (void)out_of_memory();
    else if (plan_run(args, &st, &plan) == 0)
        status = session_run(&plan);
    storage_done(&st);
    return status;
}
