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
#define SHELL_NAMES   "bash zsh fish"

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

/* ---- what the rows say ---- */

static bool is_any(const struct option_row *o)
{
    (void)o;
    return true;
}

static bool is_valued(const struct option_row *o)
{
    return o->kind != VALUE_NONE;
}

static bool is_path(const struct option_row *o)
{
    return o->kind == VALUE_PATH;
}

/* The first half of the pair is a path of this host. */
static bool is_from_host(const struct option_row *o)
{
    return o->id == OPTION_PUT;
}

/* The second half is. */
static bool is_to_host(const struct option_row *o)
{
    return o->id == OPTION_GET;
}

static bool is_backend(const struct option_row *o)
{
    return o->kind == VALUE_BACKEND;
}

static bool is_variable(const struct option_row *o)
{
    return o->kind == VALUE_ENV;
}

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

static void put_commands(void)
{
    for (const struct command_row *c = command_table; c->name; c++)
        (void)printf("%s%s", c == command_table ? "" : " ", c->name);
}

/* The words that a command without the rest takes: shells, or commands. */
static void put_words(const struct command_row *c)
{
    if (c->id == COMMAND_COMPLETION)
        (void)printf(SHELL_NAMES);
    else
        put_commands();
}

/* ---- bash ---- */

/*
 * bash cuts words at ':' and '=' as well; here they are put together again. What is offered
 * replaces the last part only, so the parts before it are not in the reply.
 */
static const char bash_head[] =
    "# bash completion for lumina\n"
    "_lumina() {\n"
    "    local IFS=$'\\n' i word raw=${COMP_WORDS[COMP_CWORD]} joined= option= cur reply= before=\n"
    "    local -a words=()\n"
    "    for ((i = 0; i <= COMP_CWORD; i++)); do\n"
    "        word=${COMP_WORDS[i]}\n"
    "        if [[ ($word == [:=] || -n $joined) && ${#words[@]} -gt 1 ]]; then\n"
    "            words[${#words[@]} - 1]+=$word\n"
    "        else\n"
    "            words+=(\"$word\")\n"
    "        fi\n"
    "        [[ $word == [:=] ]] && joined=1 || joined=\n"
    "    done\n"
    "    [[ $raw == [:=] ]] && raw=\n"
    "    cur=${words[${#words[@]} - 1]}\n"
    "    COMPREPLY=()\n";

static const char bash_tail[] =
    "    before=${raw%\"$cur\"}\n"
    "    if [[ $reply == files ]]; then\n"
    "        compopt -o filenames 2>/dev/null\n"
    "        COMPREPLY=($(compgen -P \"$before\" -f -- \"$cur\"))\n"
    "    elif [[ $reply == variables ]]; then\n"
    "        COMPREPLY=($(compgen -P \"$before\" -e -- \"$cur\"))\n"
    "    else\n"
    "        COMPREPLY=($(compgen -P \"$before\" -W \"${reply// /$IFS}\" -- \"$cur\"))\n"
    "    fi\n"
    "}\n"
    "complete -F _lumina lumina\n";

/*
 * Of a command that takes the rest: sets option to the one whose value the word is and cur to that
 * value, and offers what fits. Behind "--" or the first word that is no option all is the guest's.
 */
static void put_bash_values(const struct command_row *c)
{
    static const struct {
        bool (*pick)(const struct option_row *o);
        const char *action;
    } arms[] = {
        {is_path, "reply=files"},
        {is_from_host, "[[ $cur != *:* ]] && reply=files"},
        {is_to_host, "[[ $cur == *:* ]] && cur=${cur#*:} reply=files"},
        {is_backend, "reply=\"auto$IFS$(" BACKEND_NAMES ")\""},
        {is_variable, "[[ $cur != *=* ]] && reply=variables"},
        {is_valued, ":"},
    };

    (void)printf("        for ((i = 2; i < ${#words[@]} - 1; i++)); do\n"
                 "            case ${words[i]} in\n"
                 "            ");
    (void)put_options(c, "|", is_valued);
    (void)printf(") option=${words[i]} i=$((i + 1)) ;;\n"
                 "            --) return ;;\n"
                 "            -*) ;;\n"
                 "            *) return ;;\n"
                 "            esac\n"
                 "        done\n"
                 "        [[ $i -eq ${#words[@]} ]] || option=\n"
                 "        [[ -z $option && $cur == --*=* ]] && option=${cur%%%%=*} cur=${cur#*=}\n"
                 "        case $option in\n");
    for (size_t i = 0; i < sizeof(arms) / sizeof(arms[0]); i++) {
        (void)printf("        ");
        (void)put_options(c, "|", arms[i].pick);
        (void)printf(") %s ;;\n", arms[i].action);
    }
    (void)printf("        *) [[ $cur == -* ]] && reply='");
    (void)put_options(c, " ", is_any);
    (void)printf("' ;;\n"
                 "        esac\n"
                 "        ;;\n");
}

static void put_bash_command(const struct command_row *c)
{
    (void)printf("    %s)\n", c->name);
    if (c->takes_rest) {
        put_bash_values(c);
        return;
    }
    if (c->max_words > 0) {
        (void)printf("        [[ ${#words[@]} -eq 3 ]] && reply='");
        put_words(c);
        (void)printf("'\n");
    }
    (void)printf("        [[ $cur == -* ]] && reply='");
    (void)put_options(c, " ", is_any);
    (void)printf("'\n"
                 "        ;;\n");
}

static void put_bash(void)
{
    (void)fputs(bash_head, stdout);
    (void)printf("    case ${words[2]+${words[1]}} in\n"
                 "    '')\n"
                 "        reply='");
    put_commands();
    (void)printf("'\n"
                 "        [[ $cur == -* ]] && reply='--help --version'\n"
                 "        ;;\n");
    for (const struct command_row *c = command_table; c->name; c++)
        put_bash_command(c);
    (void)printf("    esac\n");
    (void)fputs(bash_tail, stdout);
}

/* ---- zsh ---- */

/* Inside single quotes; a colon of _arguments needs its backslash. */
static const char *zsh_action(const struct option_row *o)
{
    if (is_path(o))
        return "_files";
    if (is_from_host(o))
        return "{[[ $PREFIX == *\\:* ]] || _files}";
    if (is_to_host(o))
        return "{compset -P \"*\\:\" && _files}";
    if (is_variable(o))
        return "{[[ $PREFIX == *=* ]] || _parameters -g \"*export*\"}";
    return " ";
}

static void put_zsh_option(const struct option_row *o)
{
    const char *repeats = is_repeatable(o) ? "*" : "";
    const char *sign = o->value ? "=" : "";

    (void)printf(" \\\n            ");
    if (o->letter && is_repeatable(o))
        (void)printf("'*'{-%c%s,--%s%s}'", o->letter, o->value ? "+" : "", o->name, sign);
    else if (o->letter)
        (void)printf("'(-%c --%s)'{-%c%s,--%s%s}'", o->letter, o->name, o->letter,
                     o->value ? "+" : "", o->name, sign);
    else
        (void)printf("'%s--%s%s", repeats, o->name, sign);
    (void)printf("[");
    put_quoted(o->help, "[]\\");
    (void)printf("]");
    if (o->value) {
        (void)printf(":");
        put_quoted(o->value, ":\\");
        (void)printf(":");
        if (is_backend(o)) {
            (void)printf("{compadd auto $(");
            put_quoted(BACKEND_NAMES, "");
            (void)printf(")}");
        } else {
            (void)printf("%s", zsh_action(o));
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
                 "        _arguments '--help[show help]' '--version[show the version]'\n"
                 "        return\n"
                 "    fi\n"
                 "    local command=$words[2]\n"
                 "    shift words\n"
                 "    (( CURRENT-- ))\n"
                 "    case $command in\n");
    for (const struct command_row *c = command_table; c->name; c++) {
        (void)printf("    %s)\n        _arguments -s -S%s", c->name,
                     c->takes_rest ? " -A '-*'" : "");
        for (const struct option_row *o = c->options; o->name; o++)
            put_zsh_option(o);
        if (c->takes_rest)
            (void)printf(" \\\n            '*::argument:{:}'");
        if (c->id == COMMAND_COMPLETION)
            (void)printf(" \\\n            '1:shell:(" SHELL_NAMES ")'");
        if (c->id == COMMAND_HELP)
            (void)printf(" \\\n            '1:command:{_describe command commands}'");
        (void)printf(" ;;\n");
    }
    (void)printf("    esac\n"
                 "}\n"
                 "_lumina \"$@\"\n");
}

/* ---- fish ---- */

/* True within the options of a command: not behind "--" or the first word of the guest's. */
static void put_fish_condition(void)
{
    (void)printf("# fish completion for lumina\n"
                 "function __lumina_in\n"
                 "    set -l words (commandline -opc)\n"
                 "    test (count $words) -ge 2; and test \"$words[2]\" = $argv[1]; or return 1\n"
                 "    set -e words[1..2]\n"
                 "    set -l value no\n"
                 "    for word in $words\n"
                 "        if test $value = yes\n"
                 "            set value no\n"
                 "            continue\n"
                 "        end\n"
                 "        switch $word\n"
                 "            case ");
    (void)put_options(&command_table[0], " ", is_valued);
    (void)printf("\n"
                 "                set value yes\n"
                 "            case --\n"
                 "                return 1\n"
                 "            case '-*'\n"
                 "            case '*'\n"
                 "                return 1\n"
                 "        end\n"
                 "    end\n"
                 "end\n"
                 "complete -c lumina -f\n"
                 "complete -c lumina -n __fish_use_subcommand -s h -l help -d 'show help'\n"
                 "complete -c lumina -n __fish_use_subcommand -l version -d 'show the version'\n");
}

static void put_fish_option(const struct command_row *c, const struct option_row *o)
{
    (void)printf("complete -c lumina -n '__lumina_in %s' -l %s", c->name, o->name);
    if (o->letter)
        (void)printf(" -s %c", o->letter);
    if (is_path(o) || is_from_host(o) || is_to_host(o))
        (void)printf(" -r -F");
    else if (o->value)
        (void)printf(" -x");
    if (is_backend(o)) {
        (void)printf(" -a '(echo auto; ");
        put_quoted(BACKEND_NAMES, "'");
        (void)printf(")'");
    }
    if (is_variable(o))
        (void)printf(" -a '(set -nx)'");
    (void)printf(" -d '");
    put_quoted(o->help, "\\");
    (void)printf("'\n");
}

static void put_fish(void)
{
    put_fish_condition();
    for (const struct command_row *c = command_table; c->name; c++) {
        (void)printf("complete -c lumina -n __fish_use_subcommand -a %s -d '", c->name);
        put_quoted(c->help, "\\");
        (void)printf("'\n");
        for (const struct option_row *o = c->options; o->name; o++)
            put_fish_option(c, o);
        if (c->max_words <= 0)
            continue;
        (void)printf("complete -c lumina -n '__lumina_in %s' -a '", c->name);
        put_words(c);
        (void)printf("'\n");
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
