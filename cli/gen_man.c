/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Build-time program: copies a manual page's template from stdin to stdout and puts the rows of the
 * table where it says @synopsis@, @commands@ and @examples@, and the file named by the first
 * argument where it says @program@. It links table.c and nothing else, so it also runs where the
 * tool itself is cross-compiled for another system.
 */
#include "table.h"

#include <stdio.h>
#include <string.h>

static void put_option(const struct option_row *o)
{
    (void)printf(".It ");
    if (o->letter)
        (void)printf("Fl %c , ", o->letter);
    (void)printf("Fl -%s", o->name);
    if (o->value)
        (void)printf(" Ar %s", o->value);
    /* The help line as a sentence. */
    (void)printf("\n%c%s.\n%s",
                 *o->help >= 'a' && *o->help <= 'z' ? *o->help - 'a' + 'A' : *o->help, o->help + 1,
                 o->more ? o->more : "");
}

static void put_commands(void)
{
    for (const struct command_row *c = command_table; c->name; c++) {
        (void)printf(".Ss lumina %s\n%s.\n%s", c->name, c->help, c->more);
        (void)printf(".Bl -tag -width Ds\n");
        for (const struct option_row *o = c->options; o->name; o++)
            put_option(o);
        (void)printf(".El\n");
    }
}

/* A minus must stay one, for people who copy from the page. */
static void put_literal(const char *text)
{
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '-')
            (void)fputs("\\-", stdout);
        else if (*p == '\\')
            (void)fputs("\\e", stdout);
        else
            (void)putchar(*p);
    }
}

/* The comment is for the test that runs every example of the page. */
static void put_examples(void)
{
    const char *between = "";

    for (const struct command_row *c = command_table; c->name; c++) {
        for (const struct example_row *e = c->examples; e->command; e++) {
            if (!e->wording)
                continue;
            (void)printf("%s%s\n.\\\" example status=%d%s\n.Bd -literal -offset indent\n", between,
                         e->wording, e->status, e->terminal ? " terminal" : "");
            put_literal(e->command);
            (void)printf("\n.Ed\n");
            between = ".Pp\n";
        }
    }
}

/* Without the licence line, which is not for readers of a manual. */
static bool put_program(const char *path)
{
    FILE *in = path ? fopen(path, "r") : NULL;
    char line[512];

    if (!in) {
        (void)fprintf(stderr, "gen_man: %s: cannot be read\n", path ? path : "no program given");
        return false;
    }
    while (fgets(line, sizeof(line), in)) {
        if (!strstr(line, "SPDX-License-Identifier"))
            put_literal(line);
    }
    (void)fclose(in);
    return true;
}

static void put_synopsis(void)
{
    for (const struct command_row *c = command_table; c->name; c++)
        (void)printf(".Nm\n.Cm %s\n.%s\n", c->name, c->mdoc);
}

int main(int argc, char **argv)
{
    char line[512];

    while (fgets(line, sizeof(line), stdin)) {
        if (strcmp(line, "@synopsis@\n") == 0)
            put_synopsis();
        else if (strcmp(line, "@commands@\n") == 0)
            put_commands();
        else if (strcmp(line, "@examples@\n") == 0)
            put_examples();
        else if (strcmp(line, "@program@\n") != 0)
            (void)fputs(line, stdout);
        else if (!put_program(argc > 1 ? argv[1] : NULL))
            return 1;
    }
    return ferror(stdin) || fflush(stdout) != 0 || ferror(stdout) ? 1 : 0;
}
