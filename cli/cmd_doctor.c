/* SPDX-License-Identifier: Apache-2.0 */
/* lumina doctor: what lum_doctor() found, for people and for programs. */
#include "cmd.h"

#include "json.h"
#include "lumina.h"
#include "os.h"
#include "session.h"
#include "ui.h"

#include <stdio.h>
#include <string.h>

/* Lines get no longer than people like to read, nor so short that words cannot stand beside the
 * names. */
enum { WIDEST = 100, USUAL = 80, NARROWEST = 50, STATE_WIDTH = 4, GAP = 2 };

static const struct {
    const char *name, *colour;
} states[] = {
    [LUM_FINDING_GOOD] = {"good", "\033[32m"},
    [LUM_FINDING_NOTE] = {"note", "\033[36m"},
    [LUM_FINDING_SLOW] = {"slow", "\033[33m"},
    [LUM_FINDING_BAD] = {"bad", "\033[1;31m"},
};

struct layout {
    bool colour;
    int name_width;
    int width; /* of a whole line; 0: no end */
};

static const char *state_name(const struct lum_finding *f)
{
    return states[f->state].name;
}

static void put_state(const struct layout *l, const struct lum_finding *f)
{
    (void)printf("%s%-*s%s%*s", l->colour ? states[f->state].colour : "", STATE_WIDTH,
                 state_name(f), l->colour ? "\033[0m" : "", GAP, "");
}

/*
 * Words from the column where the cursor is; further lines begin at the indent. A word longer than
 * a line is left whole: it is most often a path to be copied.
 */
static void put_words(const struct layout *l, int column, int indent, const char *text)
{
    bool first = true; /* on this line */

    for (const char *p = text; *p != '\0';) {
        int length = (int)strcspn(p, " ");

        if (!first && l->width > 0 && column + 1 + length > l->width) {
            (void)printf("\n%*s", indent, "");
            column = indent;
            first = true;
        }
        if (!first) {
            (void)putchar(' ');
            column++;
        }
        (void)fwrite(p, 1, (size_t)length, stdout);
        first = false;
        column += length;
        p += length;
        p += strspn(p, " ");
    }
    (void)putchar('\n');
}

static void put_finding(const struct layout *l, int column, const struct lum_finding *f)
{
    static const char mark[] = "remedy: ";

    put_words(l, column, column, f->found);
    if (f->remedy[0] == '\0')
        return;
    (void)printf("%*s%s", column, "", mark);
    put_words(l, column + (int)sizeof(mark) - 1, column + GAP, f->remedy);
}

static void show_finding(const struct layout *l, const struct lum_finding *f)
{
    put_state(l, f);
    (void)printf("%-*s%*s", l->name_width, f->name, GAP, "");
    put_finding(l, STATE_WIDTH + GAP + l->name_width + GAP, f);
}

static void show_text(const struct lum_finding *list, size_t count)
{
    struct layout l = {.colour = os_is_terminal(1)};
    uint32_t rows, cols;

    if (l.colour)
        l.width = USUAL; /* of terminals that do not know their own, as serial lines */
    if (os_terminal_size(1, &rows, &cols))
        l.width = cols > WIDEST ? WIDEST : cols < NARROWEST ? NARROWEST : (int)cols;
    for (size_t i = 1; i < count; i++) {
        int length = (int)strlen(list[i].name);

        if (length > l.name_width)
            l.name_width = length;
    }
    for (size_t i = 1; i < count; i++)
        show_finding(&l, &list[i]);
    /* The sum comes last, next to where people look when the command is done. */
    (void)putchar('\n');
    put_state(&l, &list[0]);
    put_finding(&l, STATE_WIDTH + GAP, &list[0]);
}

static void show_json(const struct lum_finding *list, size_t count)
{
    (void)printf("{\"can_run\": ");
    json_bool(stdout, list[0].state != LUM_FINDING_BAD);
    (void)printf(",\n \"run\": ");
    json_text(stdout, list[0].found);
    (void)printf(",\n \"findings\": [");
    for (size_t i = 0; i < count; i++) {
        (void)printf("%s\n  {\"name\": ", i > 0 ? "," : "");
        json_text(stdout, list[i].name);
        (void)printf(", \"state\": ");
        json_text(stdout, state_name(&list[i]));
        (void)printf(", \"found\": ");
        json_text(stdout, list[i].found);
        (void)printf(", \"remedy\": ");
        json_text(stdout, list[i].remedy);
        (void)printf("}");
    }
    (void)printf("\n ]}\n");
}

int cmd_doctor(const struct args *args)
{
    struct lum_finding list[64];
    struct lum_error err;
    size_t count;
    const size_t capacity = sizeof(list) / sizeof(list[0]);

    if (lum_doctor(list, capacity, &count, &err) < 0) {
        ui_error("%s", err.text);
        return STATUS_OURS;
    }
    if (count > capacity)
        count = capacity;
    if (args_has(args, OPTION_JSON))
        show_json(list, count);
    else
        show_text(list, count);
    return list[0].state == LUM_FINDING_BAD ? 1 : 0;
}
