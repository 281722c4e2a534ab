/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lumina completion: scripts for three shells, made from the table. They ask `lumina backends` for
 * the names of backends when they need them; all else is fixed text.
 */
#include "cmd.h"

#include "session.h"
#include "ui.h"

#include <stdio.h>
#include <string.h>

#define BACKEND_NAMES "lumina backends 2>/dev/null | sed -n '2,$s/ .*//p'"

static bool is_repeatable(const struct option_row *o)
{
    return o->kind == VALUE_ENV || o->kind == VALUE_PAIR;
}

/* Text for between single quotes, with a backslash before each of the characters in special. */
static void put_quoted(const char *text, const char *special)
{
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '\'')
            (void)fputs("'\\''", stdout);
        else if (strchr(special, *p))
            (void)printf("\\%c", *p);
        else
            (void)putchar(*p);
    }
}

/* ---- bash ---- */

/* The options of a command for which pick() holds, as "--name|-n|..." or with blanks. */
static bool put_options(const struct command_row *c, const char *between,
                        bool (*pick)(const struct option_row *o))
{
    bool any = false;

    for (const struct option_row *o = c->options; o->name; o++) {
        if (!pick(o))
            continue;
        (void)printf("%s--%s", any ? between : "", o->name);
        if (o->letter)
            (void)printf("%s-%c", between, o->letter);
        any = true;
    }
    return any;
}

static bool is_any(const struct option_row *o)
{
    (void)o;
    return true;
}

static bool is_path(const struct option_row *o)
{
    return o->kind == VALUE_PATH || o->kind == VALUE_PAIR;
}

static bool is_backend(const struct option_row *o)
{
    return o->kind == VALUE_BACKEND;
}

static bool is_other_value(const struct option_row *o)
{
    return o->kind != VALUE_NONE && !is_path(o) && !is_backend(o);
}

/* Arms of a case on the word before, then the options themselves. */
static void put_bash_command(const struct command_row *c)
{
    static const struct {
        bool (*pick)(const struct option_row *o);
        const char *action;
    } arms[] = {
        {is_path, "compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- \"$cur\"))"},
        {is_backend, "COMPREPLY=($(compgen -W \"auto $(" BACKEND_NAMES ")\" -- \"$cur\"))"},
        {is_other_value, ":"},
    };
    bool has_value = false;

    (void)printf("    %s)\n", c->name);
    for (const struct option_row *o = c->options; o->name; o++)
        has_value = has_value || o->kind != VALUE_NONE;
    if (has_value) {
        (void)printf("        case $prev in\n");
        for (size_t i = 0; i < sizeof(arms) / sizeof(arms[0]); i++) {
            (void)printf("        ");
            if (put_options(c, "|", arms[i].pick))
                (void)printf(")\n            %s\n            return ;;\n", arms[i].action);
        }
        (void)printf("        esac\n");
    }
    if (c->id == COMMAND_COMPLETION)
        (void)printf("        words='bash zsh fish'\n");
    if (c->id == COMMAND_HELP)
        (void)printf("        words=$commands\n");
    (void)printf("        [[ $cur == -* ]] && words='");
    (void)put_options(c, " ", is_any);
    (void)printf("' ;;\n");
}

static void put_bash(void)
{
    (void)printf("# bash completion for lumina\n"
                 "_lumina() {\n"
                 "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
                 "    local words= commands='");
    for (const struct command_row *c = command_table; c->name; c++)
        (void)printf("%s%s", c == command_table ? "" : " ", c->name);
    (void)printf("'\n"
                 "    COMPREPLY=()\n"
                 "    if [[ $COMP_CWORD -eq 1 ]]; then\n"
                 "        [[ $cur == -* ]] && commands='--help --version'\n"
                 "        COMPREPLY=($(compgen -W \"$commands\" -- \"$cur\"))\n"
                 "        return\n"
                 "    fi\n"
                 "    case ${COMP_WORDS[1]} in\n");
    for (const struct command_row *c = command_table; c->name; c++)
        put_bash_command(c);
    (void)printf("    esac\n"
                 "    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
                 "}\n"
                 "complete -F _lumina lumina\n");
}

/* ---- zsh ---- */

static void put_zsh_option(const struct option_row *o)
{
    (void)printf(" \\\n            ");
    if (o->letter && is_repeatable(o))
        (void)printf("'*'{-%c,--%s}'", o->letter, o->name);
    else if (o->letter)
        (void)printf("'(-%c --%s)'{-%c,--%s}'", o->letter, o->name, o->letter, o->name);
    else
        (void)printf("'%s--%s", is_repeatable(o) ? "*" : "", o->name);
    (void)printf("[");
    put_quoted(o->help, "[]\\");
    (void)printf("]");
    if (o->value) {
        (void)printf(":");
        put_quoted(o->value, ":\\");
        (void)printf(":");
        if (is_path(o))
            (void)printf("_files");
        else if (is_backend(o))
            (void)printf("{compadd auto $(");
        if (is_backend(o)) {
            put_quoted(BACKEND_NAMES, "");
            (void)printf(")}");
        }
    }
    (void)printf("'");
}

static void put_zsh(void)
{
    (void)printf("#compdef lumina\n"
                 "_lumina() {\n"
                 "    local -a commands=(");
    for (const struct command_row *c = command_table; c->name; c++) {
        (void)printf("\n        '%s:", c->name);
        put_quoted(c->help, "");
        (void)printf("'");
    }
    (void)printf("\n    )\n"
                 "    if (( CURRENT == 2 )); then\n"
                 "        _describe command commands\n"
                 "        return\n"
                 "    fi\n"
                 "    local command=$words[2]\n"
                 "    shift words\n"
                 "    (( CURRENT-- ))\n"
                 "    case $command in\n");
    for (const struct command_row *c = command_table; c->name; c++) {
        (void)printf("    %s)\n        _arguments -s", c->name);
        for (const struct option_row *o = c->options; o->name; o++)
            put_zsh_option(o);
        if (c->takes_rest)
            (void)printf(" \\\n            '*::argument: '");
        if (c->id == COMMAND_COMPLETION)
            (void)printf(" \\\n            '1:shell:(bash zsh fish)'");
        if (c->id == COMMAND_HELP)
            (void)printf(" \\\n            '1:command:{_describe command commands}'");
        (void)printf(" ;;\n");
    }
    (void)printf("    esac\n"
                 "}\n"
                 "_lumina \"$@\"\n");
}

/* ---- fish ---- */

static void put_fish_option(const struct command_row *c, const struct option_row *o)
{
    (void)printf("complete -c lumina -n '__fish_seen_subcommand_from %s' -l %s", c->name, o->name);
    if (o->letter)
        (void)printf(" -s %c", o->letter);
    if (is_path(o))
        (void)printf(" -r -F");
    else if (o->value)
        (void)printf(" -x");
    if (is_backend(o)) {
        (void)printf(" -a '(echo auto; ");
        put_quoted(BACKEND_NAMES, "'");
        (void)printf(")'");
    }
    (void)printf(" -d '");
    put_quoted(o->help, "\\");
    (void)printf("'\n");
}

static void put_fish(void)
{
    (void)printf("# fish completion for lumina\n"
                 "complete -c lumina -f\n");
    for (const struct command_row *c = command_table; c->name; c++) {
        (void)printf("complete -c lumina -n __fish_use_subcommand -a %s -d '", c->name);
        put_quoted(c->help, "\\");
        (void)printf("'\n");
        for (const struct option_row *o = c->options; o->name; o++)
            put_fish_option(c, o);
        if (c->id == COMMAND_COMPLETION)
            (void)printf("complete -c lumina -n '__fish_seen_subcommand_from completion' "
                         "-a 'bash zsh fish'\n");
    }
}

/* ---- */

int cmd_completion(const struct args *args)
{
    static const struct {
        const char *name;
        void (*put)(void);
    } shells[] = {{"bash", put_bash}, {"zsh", put_zsh}, {"fish", put_fish}};

    if (args->word_count == 0) {
        ui_usage_error(args->command, "missing shell (such as lumina completion bash)");
        return STATUS_OURS;
    }
    for (size_t i = 0; i < sizeof(shells) / sizeof(shells[0]); i++) {
        if (strcmp(args->words[0], shells[i].name) == 0) {
            shells[i].put();
            return 0;
        }
    }
    ui_usage_error(args->command, "unknown shell %s (one of bash, zsh, fish)", args->words[0]);
    return STATUS_OURS;
}
