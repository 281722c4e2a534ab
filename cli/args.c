/* SPDX-License-Identifier: Apache-2.0 */
/* The parser: long and short options, bundles (-qt), --name=value; see args.h. */
#include "args.h"

#include "ui.h"

#include <stdlib.h>
#include <string.h>

/* ---- values ---- */

/* Digits at *text into *ret, moving *text on; false without a digit or when too large. */
static bool take_digits(const char **text, uint64_t *ret)
{
    const char *p = *text;
    uint64_t v = 0;

    if (*p < '0' || *p > '9')
        return false;
    for (; *p >= '0' && *p <= '9'; p++) {
        uint64_t digit = (uint64_t)(*p - '0');

        if (v > (UINT64_MAX - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    *text = p;
    *ret = v;
    return true;
}

static bool parse_count(const char *text, uint64_t *ret)
{
    return take_digits(&text, ret) && *text == '\0' && *ret > 0 && *ret <= UINT32_MAX;
}

/* Milliseconds, any fraction of one rounded up: a time that was given is never none. */
static bool parse_seconds(const char *text, uint64_t *ret)
{
    uint64_t whole = 0, part = 0, unit = 100;
    bool rest = false;

    if (*text != '.' && !take_digits(&text, &whole))
        return false;
    if (*text == '.') {
        text++;
        if (*text < '0' || *text > '9')
            return false;
        for (; *text >= '0' && *text <= '9'; text++, unit /= 10) {
            part += unit * (uint64_t)(*text - '0');
            rest = rest || (unit == 0 && *text != '0');
        }
    }
    if (*text != '\0' || whole > INT32_MAX / 1000 - 1)
        return false;
    *ret = whole * 1000 + part + (rest ? 1 : 0);
    return *ret > 0;
}

static bool parse_size(const char *text, uint64_t *ret)
{
    static const char units[] = "KMGT";
    unsigned shift = 20;
    uint64_t v;

    if (!take_digits(&text, &v))
        return false;
    if (*text != '\0') {
        char letter = *text >= 'a' && *text <= 'z' ? (char)(*text - 'a' + 'A') : *text;
        const char *unit = strchr(units, letter);

        if (!unit || text[1] != '\0')
            return false;
        shift = 10 * (unsigned)(unit - units + 1);
    }
    if (v == 0 || v > UINT64_MAX >> shift)
        return false;
    *ret = v << shift;
    return true;
}

/* Neither side of a colon is empty; which colon divides is for the option to say. */
static bool check_pair(const char *text)
{
    const char *first = strchr(text, ':');
    const char *last = strrchr(text, ':');

    return first && first != text && last[1] != '\0';
}

/* NULL, or what the value is not. */
static const char *check_value(struct arg *arg)
{
    switch (arg->row->kind) {
    case VALUE_NONE: return NULL;
    case VALUE_TEXT:
    case VALUE_PATH:
    case VALUE_BACKEND: return *arg->text != '\0' ? NULL : "must not be empty";
    case VALUE_COUNT: return parse_count(arg->text, &arg->number) ? NULL : "must be 1 or more";
    case VALUE_SECONDS: return parse_seconds(arg->text, &arg->number) ? NULL : "not a time";
    case VALUE_SIZE: return parse_size(arg->text, &arg->number) ? NULL : "not a size";
    case VALUE_ENV: return *arg->text != '\0' && *arg->text != '=' ? NULL : "not a variable";
    case VALUE_PAIR: return check_pair(arg->text) ? NULL : "not two paths with a colon between";
    }
    return NULL;
}

/* ---- names ---- */

/* Edit distance in which swapping two neighbours counts as one, or cap when it is at least that. */
static size_t typing_errors(const char *a, const char *b, size_t cap)
{
    enum { LONGEST = 31 };
    size_t rows[3][LONGEST + 1];
    size_t n = strlen(a), m = strlen(b);

    if (n > LONGEST || m > LONGEST)
        return cap;
    for (size_t j = 0; j <= m; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t *now = rows[i % 3], *before = rows[(i + 2) % 3], *older = rows[(i + 1) % 3];

        now[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t best = before[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);

            if (best > before[j] + 1)
                best = before[j] + 1;
            if (best > now[j - 1] + 1)
                best = now[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                best > older[j - 2] + 1)
                best = older[j - 2] + 1;
            now[j] = best;
        }
    }
    return rows[n % 3][m] < cap ? rows[n % 3][m] : cap;
}

const char *nearest_name(const char *wrong, const char *(*next)(const void *table, size_t index),
                         const void *table)
{
    /* Three errors in a long word are typing, in a short one another word. */
    size_t best = (strlen(wrong) + 1) / 3 + 1;
    const char *found = NULL;
    const char *name;

    if (best > 4)
        best = 4;
    for (size_t i = 0; (name = next(table, i)) != NULL; i++) {
        size_t errors = typing_errors(wrong, name, best);

        if (errors < best) {
            best = errors;
            found = name;
        }
    }
    return found;
}

static const char *next_option(const void *table, size_t index)
{
    const struct option_row *rows = table;

    return rows[index].name;
}

static bool fail_unknown(const struct command_row *command, const char *shown, const char *name)
{
    const char *near = nearest_name(name, next_option, command->options);

    if (near)
        ui_usage_error(command, "unknown option %s (did you mean --%s?)", shown, near);
    else
        ui_usage_error(command, "unknown option %s (see lumina %s --help)", shown, command->name);
    return false;
}

/* ---- the walk ---- */

static bool add(struct args *args, const struct option_row *row, const char *shown,
                const char *text)
{
    struct arg *arg = &args->list[args->count];
    const char *wrong;

    *arg = (struct arg){.row = row, .text = text};
    wrong = text ? check_value(arg) : NULL;
    if (wrong) {
        ui_usage_error(args->command, "%s %s: %s (such as %s)", shown, text, wrong, row->sample);
        return false;
    }
    args->count++;
    return true;
}

static bool fail_no_value(const struct args *args, const struct option_row *row, const char *shown)
{
    ui_usage_error(args->command, "%s: missing %s (such as %s %s)", shown, row->value, shown,
                   row->sample);
    return false;
}

/* --name, --name value, --name=value; *at is the word's index and moves over a value's. */
static bool parse_long(struct args *args, char **argv, size_t *at)
{
    const char *word = argv[*at];
    const char *name = word + 2;
    size_t length = strcspn(name, "=");
    char shown[64];

    for (const struct option_row *row = args->command->options; row->name; row++) {
        if (strlen(row->name) != length || strncmp(row->name, name, length) != 0)
            continue;
        (void)ui_format(shown, sizeof(shown), "--%s", row->name);
        if (row->kind == VALUE_NONE) {
            if (name[length] == '=') {
                ui_usage_error(args->command, "%s: takes no value", shown);
                return false;
            }
            return add(args, row, shown, NULL);
        }
        if (name[length] == '=')
            return add(args, row, shown, name + length + 1);
        if (!argv[*at + 1])
            return fail_no_value(args, row, shown);
        return add(args, row, shown, argv[++*at]);
    }
    if (ui_format(shown, sizeof(shown), "%.*s", (int)(length > 60 ? 60 : length), name)) {
        char dashed[70];

        (void)ui_format(dashed, sizeof(dashed), "--%s", shown);
        return fail_unknown(args->command, dashed, shown);
    }
    return false;
}

/* -t, -qt, -uNAME, -u NAME */
static bool parse_short(struct args *args, char **argv, size_t *at)
{
    for (const char *p = argv[*at] + 1; *p != '\0'; p++) {
        const struct option_row *row = args->command->options;
        char shown[3] = {'-', *p, '\0'};

        while (row->name && row->letter != *p)
            row++;
        if (!row->name)
            return fail_unknown(args->command, shown, shown);
        if (row->kind == VALUE_NONE) {
            if (!add(args, row, shown, NULL))
                return false;
            continue;
        }
        if (p[1] != '\0')
            return add(args, row, shown, p + 1);
        if (!argv[*at + 1])
            return fail_no_value(args, row, shown);
        return add(args, row, shown, argv[++*at]);
    }
    return true;
}

bool args_parse(const struct command_row *command, char **argv, struct args *args)
{
    size_t most = 0, at = 1;

    *args = (struct args){.command = command};
    /* An option takes at least one letter, so there are no more of them than letters. */
    for (size_t i = 1; argv[i]; i++)
        most += strlen(argv[i]) + 1;
    args->list = calloc(most + 1, sizeof(*args->list));
    if (!args->list) {
        ui_error("out of memory");
        return false;
    }
    args->words = argv + 1;
    for (; argv[at]; at++) {
        bool is_option = argv[at][0] == '-' && argv[at][1] != '\0';

        if (is_option && strcmp(argv[at], "--") == 0)
            break;
        if (!is_option && command->takes_rest)
            break;
        /* Words move up over the options between them; there is always room. */
        if (!is_option)
            args->words[args->word_count++] = argv[at];
        else if (!(argv[at][1] == '-' ? parse_long(args, argv, &at) : parse_short(args, argv, &at)))
            return false;
    }
    if (argv[at] && strcmp(argv[at], "--") == 0)
        at++;
    for (; argv[at]; at++)
        args->words[args->word_count++] = argv[at];
    args->words[args->word_count] = NULL;

    if (command->max_words >= 0 && args->word_count > (size_t)command->max_words &&
        !args_has(args, OPTION_HELP)) {
        ui_usage_error(command, "unexpected argument %s (usage: lumina %s %s)",
                       args->words[command->max_words], command->name, command->usage);
        return false;
    }
    return true;
}

void args_done(struct args *args)
{
    free(args->list);
    args->list = NULL;
    args->count = 0;
}

const struct arg *args_find(const struct args *args, enum option_id id)
{
    for (size_t i = args->count; i > 0; i--) {
        if (args->list[i - 1].row->id == id)
            return &args->list[i - 1];
    }
    return NULL;
}

bool args_has(const struct args *args, enum option_id id)
{
    return args_find(args, id) != NULL;
}

const char *args_text(const struct args *args, enum option_id id)
{
    const struct arg *arg = args_find(args, id);

    return arg ? arg->text : NULL;
}

uint64_t args_number(const struct args *args, enum option_id id)
{
    const struct arg *arg = args_find(args, id);

    return arg ? arg->number : 0;
}
