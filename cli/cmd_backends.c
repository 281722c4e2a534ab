/* SPDX-License-Identifier: Apache-2.0 */
/* lumina backends: what lum_backends() found, for people and for programs. */
#include "cmd.h"

#include "json.h"
#include "lumina.h"
#include "session.h"
#include "ui.h"

#include <stdio.h>

static const struct {
    uint32_t bit;
    const char *name;
} features[] = {
    {LUM_FEATURE_HARDWARE, "hardware"},
    {LUM_FEATURE_PAUSE, "pause"},
    {LUM_FEATURE_VSOCK, "vsock"},
    {LUM_FEATURE_DIAL, "dial"},
};

enum { FEATURE_COUNT = sizeof(features) / sizeof(features[0]) };

static void show_row(const struct lum_backend *b)
{
    char text[64] = "-";
    size_t used = 0;

    for (size_t i = 0; i < FEATURE_COUNT; i++) {
        const char *comma = used > 0 ? "," : "";

        if ((b->features & features[i].bit) == 0)
            continue;
        (void)ui_format(text + used, sizeof(text) - used, "%s%s", comma, features[i].name);
        while (text[used] != '\0')
            used++;
    }
    (void)printf("%-12s %-7s %-5s %-25s %s\n", b->name, b->usable ? "yes" : "no",
                 b->automatic ? "yes" : "-", text, b->detail);
}

static void show_json(const struct lum_backend *b)
{
    const char *comma = "";

    (void)printf("{\"name\": ");
    json_text(stdout, b->name);
    (void)printf(", \"usable\": ");
    json_bool(stdout, b->usable != 0);
    (void)printf(", \"auto\": ");
    json_bool(stdout, b->automatic != 0);
    (void)printf(", \"max_vcpus\": %u, \"features\": [", (unsigned)b->max_vcpus);
    for (size_t i = 0; i < FEATURE_COUNT; i++) {
        if ((b->features & features[i].bit) == 0)
            continue;
        (void)printf("%s", comma);
        json_text(stdout, features[i].name);
        comma = ", ";
    }
    (void)printf("], \"detail\": ");
    json_text(stdout, b->detail);
    (void)printf("}");
}

int cmd_backends(const struct args *args)
{
    struct lum_backend list[32];
    struct lum_error err;
    size_t count;
    const size_t capacity = sizeof(list) / sizeof(list[0]);

    if (lum_backends(list, capacity, &count, &err) < 0) {
        ui_error("%s", err.text);
        return STATUS_OURS;
    }
    if (count > capacity)
        count = capacity;
    if (args_has(args, OPTION_JSON)) {
        (void)printf("[");
        for (size_t i = 0; i < count; i++) {
            (void)printf("%s", i == 0 ? "" : ",\n ");
            show_json(&list[i]);
        }
        (void)printf("]\n");
        return 0;
    }
    (void)printf("%-12s %-7s %-5s %-25s %s\n", "NAME", "USABLE", "AUTO", "FEATURES", "DETAIL");
    for (size_t i = 0; i < count; i++)
        show_row(&list[i]);
    return 0;
}
