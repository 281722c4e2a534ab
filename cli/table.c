/* SPDX-License-Identifier: Apache-2.0 */
/* The rows. A new option is a row here and its use in the command's file. */
#include "table.h"

#include <string.h>

static const struct option_row run_options[] = {
    {OPTION_TTY, 't', "tty", NULL, VALUE_NONE, NULL, "give the command a terminal",
     "Standard input must be a terminal; it is in raw mode while the command runs.\n"
     "Changes of its size are passed on.\n"},
    {OPTION_ENV, 'e', "env", "NAME[=VALUE]", VALUE_ENV, "HOME=/root", "set an environment variable",
     "Without a value it is copied from the environment of\n.Nm ,\n"
     "and left out when it is not set there.\nMay be given more than once.\n"},
    {OPTION_WORKDIR, 'w', "workdir", "DIR", VALUE_TEXT, "/tmp",
     "start the command in this folder of the guest", "The default is the home of the user.\n"},
    {OPTION_USER, 'u', "user", "USER", VALUE_TEXT, "1000:1000",
     "run the command as this user of the guest",
     "A name, a number, or\n.Ar uid : Ns Ar gid .\nThe default is root.\n"},
    {OPTION_PUT, 0, "put", "HOST:GUEST", VALUE_PAIR, "job.sh:/root/",
     "copy a file or folder in before the command runs",
     "Whole folders are copied, with modes, times and symbolic links.\n"
     "If the guest path ends in a slash or is a folder, the copy goes into it\nunder its own "
     "name.\n"
     "The last colon divides the two paths.\nMay be given more than once.\n"},
    {OPTION_GET, 0, "get", "GUEST:HOST", VALUE_PAIR, "/root/out:out",
     "copy a file or folder out when the command ended",
     "Also done when the command failed.\nThe first colon divides the two paths.\n"
     "May be given more than once.\n"},
    {OPTION_TIMEOUT, 0, "timeout", "SECONDS", VALUE_SECONDS, "2.5",
     "kill the command after this time and exit 124",
     "Counted from the start of the command; fractions are allowed.\n"},
    {OPTION_CPUS, 0, "cpus", "COUNT", VALUE_COUNT, "2", "virtual CPUs (default 1)", NULL},
    {OPTION_MEMORY, 0, "memory", "SIZE", VALUE_SIZE, "512M", "memory of the guest (default 256M)",
     "Units are K, M, G and T; a bare number is in MiB.\n"
     "The host pays only for what the guest touches.\n"},
    {OPTION_ROOTFS, 0, "rootfs", "PATH", VALUE_PATH, "root.erofs",
     "root: a folder, or a cpio, EROFS or ext4 image",
     "The default is a small busybox system.\n"
     "The guest never writes to it: changes go to a layer in memory and are\n"
     "gone with the guest.\n"},
    {OPTION_READ_ONLY, 0, "read-only", NULL, VALUE_NONE, NULL, "no writable layer over the root",
     "Only\n.Pa /tmp ,\n.Pa /run\nand\n.Pa /dev\ncan be written then.\n"},
    {OPTION_SCRATCH, 0, "scratch", "SIZE", VALUE_SIZE, "64M", "limit of the writable layer",
     "The default is half of the memory.\n"},
    {OPTION_HOSTNAME, 0, "hostname", "NAME", VALUE_TEXT, "box",
     "host name of the guest (default lumina)", NULL},
    {OPTION_KERNEL, 0, "kernel", "PATH", VALUE_PATH, "vmlinux",
     "guest kernel: an ELF vmlinux or a bzImage",
     "The default is the kernel that was built with\n.Nm .\n"},
    {OPTION_KERNEL_ARGS, 0, "kernel-args", "TEXT", VALUE_TEXT, "loglevel=7",
     "appended to the kernel command line", NULL},
    {OPTION_BACKEND, 0, "backend", "NAME", VALUE_BACKEND, "qemu",
     "hypervisor backend (default auto)", "See\n.Cm backends .\n"},
    {OPTION_JAIL, 0, "jail", "default|seccomp|off", VALUE_TEXT, "seccomp",
     "fence around the process of the VM",
     "Of\n.Cm default ,\nall must be in force, or nothing is run.\nThe choice\n.Cm seccomp\n"
     "does without namespaces, for hosts that forbid them, and\n.Cm off\n"
     "leaves only the hypervisor between the guest and your rights; it prints a\nwarning.\n"},
    {OPTION_BOOT_TIMEOUT, 0, "boot-timeout", "SECONDS", VALUE_SECONDS, "10",
     "give up when the guest is not ready by then",
     "The default is 30 seconds, with the\n.Cm qemu\nbackend 120.\n"},
    {OPTION_TIMING, 0, "timing", NULL, VALUE_NONE, NULL,
     "show at the end when each stage was reached",
     "The table goes to standard error.\n"
     "It marks the longest step, and its total counts from T0, when the VM was\n"
     "asked for, to T1, when the first output was here.\n"},
    {OPTION_JSON, 0, "json", NULL, VALUE_NONE, NULL,
     "print the result as one JSON object at the end", "See\n.Sx JSON OUTPUT .\n"},
    {OPTION_QUIET, 'q', "quiet", NULL, VALUE_NONE, NULL, "no warnings, no progress line", NULL},
    {OPTION_VERBOSE, 'v', "verbose", NULL, VALUE_NONE, NULL,
     "show log lines and the console of the guest",
     "They go to standard error; lines of the console begin with\n.Dq guest: .\n"},
    {OPTION_HELP, 'h', "help", NULL, VALUE_NONE, NULL, "show this help", NULL},
    {.name = NULL},
};

static const struct option_row backends_options[] = {
    {OPTION_JSON, 0, "json", NULL, VALUE_NONE, NULL, "print a JSON array", NULL},
    {OPTION_HELP, 'h', "help", NULL, VALUE_NONE, NULL, "show this help", NULL},
    {.name = NULL},
};

static const struct option_row doctor_options[] = {
    {OPTION_JSON, 0, "json", NULL, VALUE_NONE, NULL, "print a JSON object",
     "See\n.Sx JSON OUTPUT .\n"},
    {OPTION_HELP, 'h', "help", NULL, VALUE_NONE, NULL, "show this help", NULL},
    {.name = NULL},
};

static const struct option_row version_options[] = {
    {OPTION_JSON, 0, "json", NULL, VALUE_NONE, NULL, "print a JSON object", NULL},
    {OPTION_HELP, 'h', "help", NULL, VALUE_NONE, NULL, "show this help", NULL},
    {.name = NULL},
};

static const struct option_row help_options[] = {
    {OPTION_HELP, 'h', "help", NULL, VALUE_NONE, NULL, "show this help", NULL},
    {.name = NULL},
};
static const struct example_row run_examples[] = {
    {"lumina run -- uname -a", "one command, then the VM is gone",
     "Run one command and throw the VM away:", 0, false},
    {"echo hi | lumina run -- tr a-z A-Z", "streams and exit status pass through",
     "Standard input, output and error are those of the command:", 0, false},
    {"lumina run -- sh -c 'echo out; echo err >&2; exit 7'", NULL,
     "The exit status is passed on, here 7:", 7, false},
    {"lumina run", "a shell in your terminal", "A shell in the terminal:", 0, true},
    {"lumina run --put job.sh:/root/ --get /root/out:out -- sh /root/job.sh",
     "a file in, a result out", "Take a script in and its result out:", 0, false},
    {"lumina run --timeout 0.5 -- sleep 60", "at most half a second, else exit 124",
     "Give a command half a second; this one exits 124:", 124, false},
    {"lumina run --memory 512M --cpus 2 -e LANG=C -u user -w /tmp -- env", NULL,
     "Two CPUs, 512 MiB, a user, a folder and a variable of one's own:", 0, false},
    {"lumina run --timing -- true", NULL, "See where the time goes:", 0, false},
    {"lumina run --json -- uname -m", NULL, "The result for a program to read:", 0, false},
    {.command = NULL},
};

static const struct example_row backends_examples[] = {
    {"lumina backends", "what can run VMs here, best first",
     "See what can run VMs on this host:", 0, false},
    {"lumina backends --json", "the same for programs", NULL, 0, false},
    {.command = NULL},
};

static const struct example_row doctor_examples[] = {
    {"lumina doctor", "what this host can do, and what to mend",
     "See whether VMs run on this host, how fast, and what to mend:", 0, false},
    {"lumina doctor --json", "the same for programs", NULL, 0, false},
    {"lumina doctor >report.txt 2>&1 || echo 'no VM can run here'", NULL,
     "Ask the same in a script:", 0, false},
    {.command = NULL},
};

static const struct example_row version_examples[] = {
    {"lumina version", "of the tool, and of a differing library", NULL, 0, false},
    {.command = NULL},
};

static const struct example_row help_examples[] = {
    {"lumina help run", "the same as lumina run --help", NULL, 0, false},
    {.command = NULL},
};

static const struct example_row completion_examples[] = {
    {"lumina completion bash > lumina.bash", "for ~/.bashrc to source",
     "Write the completions for bash to a file, which\n.Pa ~/.bashrc\nthen reads:", 0, false},
    {"lumina completion zsh > _lumina", "into a folder of $fpath", NULL, 0, false},
    {"lumina completion fish > lumina.fish", "into ~/.config/fish/completions", NULL, 0, false},
    {.command = NULL},
};

const struct command_row command_table[] = {
    {COMMAND_RUN, "run", "[options] [--] [command [argument...]]",
     "Oo Ar option ... Oc Oo Fl - Oc Oo Ar command Oo Ar argument ... Oc Oc",
     "Run a command in a micro-VM of its own",
     "Starts a Linux guest, runs\n"
     ".Ar command\n"
     "in it, and throws the guest away.\n"
     "The standard streams are those of the command, and so is the exit status.\n"
     "Options end at\n"
     ".Fl -\n"
     "or at the first word that is not one.\n"
     "Without\n"
     ".Ar command ,\n"
     ".Cm sh\n"
     "is run: with a terminal, as if\n"
     ".Fl -tty\n"
     "were given, when standard input and output are terminals, and reading\n"
     "standard input otherwise.\n",
     true, -1, run_options, run_examples},
    {COMMAND_BACKENDS, "backends", "[--json]", "Op Fl -json", "List what can run VMs on this host",
     "One line for each hypervisor backend, best first: its name, whether a VM\n"
     "can be created with it here, whether\n"
     ".Cm auto\n"
     "chooses it, what it can do, and what was found.\n"
     "Each is probed with a small guest, which takes some milliseconds.\n",
     false, 0, backends_options, backends_examples},
    {COMMAND_DOCTOR, "doctor", "[--json]", "Op Fl -json",
     "Say what this host can do and what slows it",
     "One line for each finding, worst first, with its remedy below where there is\n"
     "something to do; the last line says what\n"
     ".Cm run\n"
     "will do here.\n"
     "It is not guessed: a VM is started and thrown away.\n"
     "Each finding is\n"
     ".Bl -tag -width good\n"
     ".It bad\n"
     "no VM can run, or only with less protection;\n"
     ".It slow\n"
     "it costs time;\n"
     ".It note\n"
     "worth knowing, with little or nothing to gain;\n"
     ".It good\n"
     "as it should be.\n"
     ".El\n"
     ".Pp\n"
     "Nothing on the host is changed.\n"
     "What is tried, as namespaces and an empty cgroup, is gone at the end.\n"
     "The exit status is 0 when a VM ran, however slowly, and 1 when none did.\n",
     false, 0, doctor_options, doctor_examples},
    {COMMAND_VERSION, "version", "[--json]", "Op Fl -json", "Show the version",
     "Also as\n.Fl -version .\n", false, 0, version_options, version_examples},
    {COMMAND_HELP, "help", "[command]", "Op Ar command", "Show help about a command",
     "Also as\n.Fl -help\nafter the command.\n", false, 1, help_options, help_examples},
    {COMMAND_COMPLETION, "completion", "bash|zsh|fish", "Cm bash | zsh | fish",
     "Print completions for a shell", "Writes a script for that shell to standard output.\n", false,
     1, help_options, completion_examples},
    {.name = NULL},
};

const struct command_row *command_find(const char *name)
{
    for (const struct command_row *c = command_table; c->name; c++) {
        if (strcmp(c->name, name) == 0)
            return c;
    }
    return NULL;
}
