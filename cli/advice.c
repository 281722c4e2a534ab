/* SPDX-License-Identifier: Apache-2.0 */
/* See advice.h. */
#include "advice.h"

#include "ui.h"

#include <errno.h>
#include <string.h>

/* What the library's texts begin with, when an option is wrong. */
static const struct {
    const char *word, *option;
} names[] = {
    {"vcpus", "--cpus"},        {"memory", "--memory"},   {"scratch", "--scratch"},
    {"hostname", "--hostname"}, {"kernel", "--kernel"},   {"kernel_args", "--kernel-args"},
    {"rootfs", "--rootfs"},     {"backend", "--backend"},
};

/* The option that the text is about, or NULL; *ret_rest is what follows its name. */
static const char *option_of(const char *text, const struct run_plan *plan, const char **ret_rest)
{
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        size_t len = strlen(names[i].word);

        if (strncmp(text, names[i].word, len) != 0 || (text[len] != ':' && text[len] != ' '))
            continue;
        /* A kernel or root that nobody asked for is the library's own. */
        if ((strcmp(names[i].word, "kernel") == 0 && !plan->vm.kernel) ||
            (strcmp(names[i].word, "rootfs") == 0 && !plan->vm.rootfs))
            return NULL;
        *ret_rest = text + len;
        return names[i].option;
    }
    return NULL;
}

static const char *remedy(const struct lum_error *err, const struct run_plan *plan,
                          enum advice_stage stage)
{
    if (err->code == LUM_ENOMEM || strstr(err->text, strerror(ENOMEM)))
        return plan->vm.memory_bytes ? " (a smaller --memory may fit)" : "";
    if (stage == ADVICE_CREATE)
        return err->code == LUM_ENOTSUP && !strstr(err->text, "remedy")
                   ? " (lumina backends shows what can run here)"
                   : "";
    if (err->domain == LUM_DOMAIN_GUEST_ERRNO)
        return " (in the guest)";
    if (stage == ADVICE_BOOT && err->code == LUM_ETIMEDOUT)
        return " (--boot-timeout gives it more time, -v shows its console)";
    if (stage == ADVICE_BOOT && err->code == LUM_EGUEST)
        return " (-v shows its console)";
    return "";
}

void advice(char *text, size_t size, const struct lum_error *err, const struct run_plan *plan,
            enum advice_stage stage)
{
    const char *rest = err->text;
    const char *option = stage == ADVICE_CREATE ? option_of(err->text, plan, &rest) : NULL;

    (void)ui_format(text, size, "%s%s%s", option ? option : "", rest, remedy(err, plan, stage));
}
