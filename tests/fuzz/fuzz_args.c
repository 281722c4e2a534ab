/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any words as the tool's command line: the first byte chooses the command, the words follow, each
 * ended by a line feed. What is said on stderr is only formatted here.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "args.h"
#include "ui.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_WORDS 256

static unsigned errors;

static void must(bool good)
{
    if (!good)
        abort();
}

static void say(const char *fmt, va_list ap) UI_PRINTF(1, 0);

static void say(const char *fmt, va_list ap)
{
    char text[1024];

    must(vsnprintf(text, sizeof(text), fmt, ap) > 0);
    errors++;
}

void ui_error(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    say(fmt, ap);
    va_end(ap);
}

void ui_usage_error(const struct command_row *command, const char *fmt, ...)
{
    va_list ap;

    must(command && command->name);
    va_start(ap, fmt);
    say(fmt, ap);
    va_end(ap);
}

bool ui_format(char *buf, size_t size, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    int n = vsnprintf(buf, size, fmt, ap);
    va_end(ap);
    return n >= 0 && (size_t)n < size;
}

static const char *next_command(const void *table, size_t index)
{
    const struct command_row *rows = table;

    return rows[index].name;
}

static void check(const struct args *args, char **words, size_t n_words)
{
    size_t texts = 0;

    for (size_t i = 0; i < args->count; i++) {
        const struct arg *a = &args->list[i];
        enum value_kind kind = a->row->kind;

        must((a->text == NULL) == (kind == VALUE_NONE));
        texts += a->text != NULL;
        if (kind == VALUE_COUNT || kind == VALUE_SECONDS || kind == VALUE_SIZE)
            must(a->number > 0);
        if (kind == VALUE_SECONDS)
            must(a->number <= INT32_MAX);
        must(args_has(args, a->row->id) && args_find(args, a->row->id) >= a);
        must(args_text(args, a->row->id) == args_find(args, a->row->id)->text);
        must(kind != VALUE_COUNT || args_number(args, a->row->id) <= UINT32_MAX);
    }
    must(args->word_count + (texts > 0) <= n_words);
    must(args->words >= words && args->words + args->word_count <= words + n_words + 1);
    must(args->words[args->word_count] == NULL);
    for (size_t i = 0; i < args->word_count; i++)
        must(args->words[i] != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *argv[MAX_WORDS + 2];
    size_t n = 0, commands = 0;
    struct args args;

    if (size < 1)
        return 0;
    while (command_table[commands].name)
        commands++;
    const struct command_row *command = &command_table[data[0] % commands];
    char *copy = malloc(size);
    must(copy != NULL);
    memcpy(copy, data + 1, size - 1);
    copy[size - 1] = '\0';
    argv[n++] = (char *)(uintptr_t)command->name;
    for (char *p = copy; n <= MAX_WORDS && *p;) {
        argv[n++] = p;
        p += strcspn(p, "\n");
        if (*p)
            *p++ = '\0';
    }
    argv[n] = NULL;
    errors = 0;
    (void)nearest_name(argv[n - 1], next_command, command_table);
    bool good = args_parse(command, argv, &args);
    must(good == (errors == 0));
    if (good)
        check(&args, argv + 1, n - 1);
    args_done(&args);
    free(copy);
    return 0;
}
