/* SPDX-License-Identifier: Apache-2.0 */
/* lumina version: of the tool, and of the library when a different one was loaded. */
#include "cmd.h"

#include "json.h"
#include "lumina.h"
#include "ui.h"

#include <stdio.h>
#include <string.h>

int cmd_version(const struct args *args)
{
    char ours[32];

    (void)ui_format(ours, sizeof(ours), "%d.%d.%d", LUM_VERSION_MAJOR, LUM_VERSION_MINOR,
                    LUM_VERSION_PATCH);
    if (args_has(args, OPTION_JSON)) {
        (void)printf("{\"version\": ");
        json_text(stdout, ours);
        (void)printf(", \"library\": ");
        json_text(stdout, lum_version_string());
        (void)printf("}\n");
    } else if (strcmp(ours, lum_version_string()) == 0) {
        (void)printf("lumina %s\n", ours);
    } else {
        (void)printf("lumina %s (library %s)\n", ours, lum_version_string());
    }
    return 0;
}
