#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""banned.py [--self-test]: what may not be in the sources, and where it may be after all.

Prints path:line: rule for each finding and fails when there is one. The self-test plants one example of each banned thing in a
folder of its own and fails when one of them is not found, or when something harmless is.
"""
import os
import re
import sys
import tempfile

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
C_ROOMS = ("src/", "cli/", "guest/", "bench/", "include/")
ALL = C_ROOMS + ("tests/", "tools/", "man/", "examples/")
PARTS = re.compile(r"/\*.*?\*/|//[^\n]*|(\"(?:\\.|[^\"\\\n])*\")|('(?:\\.|[^'\\\n])*')", re.S)


class Rule:
    """name: shown with a finding. bad: lines that it must find, good: lines that it must not. allowed: path, reason."""

    def __init__(self, name, pattern, rooms=C_ROOMS, *, bad, good=(), allowed=None, view="code", only=(".c", ".h")):
        self.name = name
        self.pattern = re.compile(pattern, re.M)
        self.rooms = rooms
        self.bad = bad
        self.good = good
        self.allowed = allowed or {}
        self.view = view  # code: no comments, no strings; text: no comments; raw: all
        self.only = only


def calls(name, functions, rooms=C_ROOMS, good=(), **rest):
    """A rule against calling any of some functions."""
    functions = functions.split()
    return Rule(name, r"(?<![\w.>])(?:%s)\s*\(" % "|".join(functions), rooms,
                bad=["    x = %s(a, b);" % f for f in functions],
                good=["/* %s(a) */" % functions[0], 'say("%s(a)");' % functions[0], "my_%s(a);" % functions[0],
                      "ops->%s(a);" % functions[0], *good], **rest)


RULES = [
    calls("writes without a bound", "strcpy strcat stpcpy wcscpy wcscat sprintf vsprintf gets",
          good=['snprintf(a, sizeof(a), "x");', "vsnprintf(a, n, f, ap);", "fgets(a, n, f);"]),
    calls("may leave out the end mark", "strncpy strncat stpncpy",
          allowed={"bench/floor_child.c": "a field of fixed width in a report, one byte shorter than the field"}),
    Rule("scanf of a string without a width", r"scanf\s*\([^;]*%(?:l|m)?(?:s|\[)", view="text",
         bad=['    fscanf(f, "%d %s", &n, text);', '    sscanf(line, "%[^:]", text);', '    sscanf(line,\n        "%s", text);'],
         good=['    sscanf(line, "%31s %*s %d", text, &n);', '    printf("%s", text);']),
    calls("keeps state between calls", "strtok rand srand random srandom drand48 lrand48"),
    calls("static result", "localtime gmtime ctime asctime getpwnam getpwuid getgrnam getgrgid gethostbyname inet_ntoa ttyname getlogin "
          "readdir_r", good=["getpwuid_r(a, b);"]),
    calls("number without a check", "atoi atol atoll atof"),
    calls("runs a shell", "system popen wordexp"),
    calls("name of a temporary file without the file", "mktemp tmpnam tmpnam_r tempnam", good=["mkstemp(a);"]),
    calls("stack by the byte", "alloca __builtin_alloca strdupa strndupa"),
    calls("jump over destructors", "setjmp sigsetjmp longjmp siglongjmp"),
    # A bench may wait between two measurements.
    calls("nothing sleeps", "usleep sleep nanosleep clock_nanosleep", ("src/", "cli/", "guest/", "include/")),
    calls("the heap has one door, base/alloc.h",
          "malloc calloc realloc reallocarray strdup strndup asprintf vasprintf aligned_alloc posix_memalign memalign", ("src/",),
          good=["p = lum_calloc(1, n);"],
          allowed={"src/base/alloc.c": "the door",
                   "src/plat/posix/tree.c": "part of the agent too, which has no such door",
                   "src/plat/posix/untree.c": "part of the agent too, which has no such door"}),
    calls("the caller's process is not ours to end", "exit abort quick_exit err errx", ("src/",), good=["_exit(127);"]),
    calls("assert where an answer is due", "assert", ("src/", "guest/", "cli/"), good=['_Static_assert(sizeof(a) == 4, "x");'],
          allowed={"src/core/findings.c": "a check added twice or one too many, which the doctor's test runs into"}),
    calls("a new process without a new program", "fork vfork daemon", ("src/", "cli/")),
    calls("state of the whole process", "setenv putenv unsetenv clearenv umask chdir fchdir chroot setlocale signal sigaction", ("src/",),
          allowed={"src/hv/hv_kvm_vcpu.c": "the worker's process is ours",
                   "src/jail/linux.c": "the worker's process is ours",
                   "src/jail/chroot_linux.c": "the child, before its program",
                   "src/worker/worker.c": "the worker's process is ours",
                   "src/plat/linux/process.c": "the child, before its program"}),
    calls("the library and the worker print nothing", "printf fprintf vprintf vfprintf dprintf puts fputs putchar fputc perror", ("src/",),
          good=['snprintf(a, sizeof(a), "x");'],
          allowed={"src/worker/main.c": "usage, for whoever runs it by hand"}),
    calls("guest memory has one door, mem/gmem.h", "gmem_span", ("src/",),
          allowed={"src/mem/gmem.h": "the door",
                   "src/dev/vq.c": "queues: hands out checked copies only",
                   "src/dev/mmio.c": "whether a queue lies in memory",
                   "src/boot/load.c": "writes what the kernel boots from, before it runs"}),
    Rule("guest memory by its host address", r"\bmem(?:\.|->)(?:range\s*\[[^\]]*\]\s*\.\s*)?host\b", ("src/",),
         bad=["    memcpy(to, m->mem.host + at, n);", "    p = mem->range[0].host + at;"], good=["    m->host = *host;"],
         allowed={"src/machine/native/native.c": "makes, maps and releases it",
                  "src/machine/native/vcpu.c": "the gauge's loop, before the guest's code is there"}),
    Rule("#if on a system or architecture",
         r"^[ \t]*#[ \t]*(?:el)?if(?:n?def)?\b.*\b(?:_WIN32|_WIN64|__CYGWIN__|__linux__|__linux|linux|__unix__|__APPLE__|__MACH__|"
         r"__(?:Free|Net|Open)BSD__|__x86_64__|__amd64__|__i386__|__aarch64__|__arm__|__riscv)\b",
         bad=["#ifdef __linux__", "#if defined(_WIN32) && X", "# ifndef __x86_64__", "#elif defined(__APPLE__)"],
         good=["#ifndef LUM_MEM_GMEM_H", "#ifndef SYS_mount_setattr"],
         allowed={"include/lumina.h": "the export macro"}),
    Rule("a finding silenced without a reason", r"NOLINT(?!\w*\([\w.,-]+\): \S)|cppcheck-suppress(?! \w+ ; \S)", ALL, view="raw",
         bad=["    f(); /* NOLINT */", "    f(); // NOLINTNEXTLINE(cert-err33-c)", "    // cppcheck-suppress nullPointer"],
         good=["    f(); /* NOLINT(cert-err33-c): nobody can be told */", "    // cppcheck-suppress nullPointer ; never without p"]),
    Rule("left for later", r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b", ALL, view="raw",
         bad=["/* TO" "DO: the rest */", "# FIX" "ME", "// XX" "X"], good=["mkdtemp(XXXXXX);"],
         only=(".c", ".h", ".S", ".sh", ".py", ".build", ".in", ".md", ".map")),
]


def strip(text, strings_too):
    """Comments and, if wanted, the insides of strings become blanks; lines stay where they are."""

    def blank(match):
        if (match.group(1) or match.group(2)) and not strings_too:
            return match.group(0)
        return re.sub(r"[^\n]", " ", match.group(0))

    return PARTS.sub(blank, text)


def files(root):
    for room in ALL:
        for folder, folders, names in os.walk(os.path.join(root, room)):
            folders[:] = [f for f in folders if f not in ("__pycache__", "corpus")]
            for name in sorted(names):
                yield os.path.relpath(os.path.join(folder, name), root)


def findings(root):
    """Each finding as (path, line, rule)."""
    for path in files(root):
        rules = [r for r in RULES if path.startswith(tuple(r.rooms)) and path.endswith(r.only) and path not in r.allowed]
        if not rules or path == os.path.relpath(os.path.abspath(__file__), HERE):
            continue
        with open(os.path.join(root, path), encoding="utf-8") as f:
            raw = f.read()
        views = {"raw": raw, "text": strip(raw, False), "code": strip(raw, True)}
        for rule in rules:
            for match in rule.pattern.finditer(views[rule.view]):
                yield path, raw.count("\n", 0, match.start()) + 1, rule


def self_test():
    wrong = 0
    with tempfile.TemporaryDirectory() as root:
        planted = {}
        for number, rule in enumerate(RULES):
            for room in rule.rooms:
                for good, lines in ((False, rule.bad), (True, rule.good)):
                    for i, line in enumerate(lines):
                        path = "%sx/%s%d_%d.c" % (room, "good" if good else "bad", number, i)
                        planted[path] = (rule, good, line)
                        os.makedirs(os.path.join(root, room, "x"), exist_ok=True)
                        with open(os.path.join(root, path), "w", encoding="utf-8") as f:
                            f.write("/* a\n * comment */\n" + line + "\n")
        found = {(path, rule) for path, _, rule in findings(root)}
        for path, (rule, good, line) in planted.items():
            if ((path, rule) in found) == good:
                print("%s: %s: %s" % (rule.name, "taken for one" if good else "not found", line.strip()))
                wrong += 1
    for rule in RULES:
        for path in rule.allowed:
            if not os.path.exists(os.path.join(HERE, path)):
                print("%s: allowed in %s, which is not there" % (rule.name, path))
                wrong += 1
    print("%d examples planted, %d wrong" % (len(planted), wrong))
    return wrong


def main():
    if sys.argv[1:] == ["--self-test"]:
        return 1 if self_test() else 0
    count = 0
    for path, line, rule in findings(HERE):
        print("%s:%d: %s" % (path, line, rule.name))
        count += 1
    return 1 if count else 0


sys.exit(main())
