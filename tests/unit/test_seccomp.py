#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""test_seccomp.py SOURCE CC: tools/seccomp.py and the programs it makes.

The programs run in an interpreter of classic BPF, over every call number and many arguments, and are compared
with what the comments say, worked out here from the comments' own data and not from anything the tool computed."""
import ctypes
import os
import platform
import random
import re
import shlex
import subprocess
import sys
import tempfile

SOURCE, CC = sys.argv[1:]
TOOL = os.path.join(os.path.abspath(SOURCE), "tools", "seccomp.py")
HOST = platform.machine()
ARCHES = sorted({HOST, "aarch64"})  # aarch64's numbers are the kernel's generic ones: any host has them
AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
FOREIGN_AUDIT = (0x40000003, 0x40000028, 0xC00000B7, 0xC000003E, 0x80000016, 0, 0xFFFFFFFF)
ALLOW, KILL = 0x7FFF0000, 0x80000000
X32 = 0x40000000
U32, U64 = (1 << 32) - 1, (1 << 64) - 1

count = failures = 0


def ok(good, name, note=""):
    global count, failures
    count += 1
    failures += not good
    print(f"{'' if good else 'not '}ok {count} - {name}".replace("#", " "), flush=True)
    if not good:
        for line in str(note).splitlines():
            print(f"# {line}")
    return good


def skip(name, reason):
    global count
    count += 1
    print(f"ok {count} - {name} # SKIP {reason}", flush=True)


# ---- the tool ----


class Result:
    def __init__(self, run, output):
        self.code, self.stdout, self.stderr, self.output = run.returncode, run.stdout, run.stderr.strip(), output
        self.programs = {}
        self.table = re.findall(r'^    \{"(\w+)", program_\1, sizeof.*, (\d+)\},$', output, re.M)
        for role, body in re.findall(r"program_(\w+)\[\] = \{\n(.*?)\};", output, re.S):
            self.programs[role] = [tuple(int(part, 0) for part in parts) for parts in
                                   re.findall(r"^    \{(0x\w+), (\d+), (\d+), (0x\w+)\},", body, re.M)]


def generate(sources, arch=HOST, cc=CC, options=(), out=True):
    """Runs the tool over {file name: text} in a folder of its own."""
    if isinstance(sources, str):
        sources = {"x.c": sources}
    with tempfile.TemporaryDirectory() as folder:
        for name, text in sources.items():
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                file.write(text)
        run = subprocess.run([sys.executable, TOOL, "--cc", cc, "--arch", arch, *(["--out", "out.c"] if out else []),
                              *options, *sources], cwd=folder, text=True, capture_output=True, check=False)
        path = os.path.join(folder, "out.c")
        output = ""
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                output = file.read()
        return Result(run, output)


# ---- classic BPF ----


def run_bpf(program, number, arch, args):
    """(return value, steps). Only what the generator may use; anything else is an error, as is running off the end."""
    data = [number, arch, 0, 0]
    for arg in args:
        data += [arg & U32, arg >> 32 & U32]
    acc = at = steps = 0
    while True:
        code, jt, jf, k = program[at]
        at += 1
        steps += 1
        if code == 0x20:
            acc = data[k // 4]
        elif code == 0x54:
            acc &= k
        elif code == 0x05:
            at += k
        elif code == 0x15:
            at += jt if acc == k else jf
        elif code == 0x35:
            at += jt if acc >= k else jf
        elif code == 0x45:
            at += jt if acc & k else jf
        elif code == 0x06:
            return k, steps
        else:
            raise ValueError(f"instruction {at - 1}: code {code:#x}")


def is_valid(program):
    """What the kernel asks of a program before it takes it."""
    last = len(program) - 1
    for at, (code, jt, jf, k) in enumerate(program):
        far = k if code == 0x05 else max(jt, jf)
        if code not in (0x20, 0x54, 0x05, 0x15, 0x35, 0x45, 0x06) or max(jt, jf) > 255 or not 0 <= k <= U32:
            return False
        if code == 0x20 and (k % 4 or k >= 64) or code in (0x05, 0x15, 0x35, 0x45) and at + 1 + far > last:
            return False
    return 0 < len(program) <= 4096 and program[-1][0] == 0x06


# ---- the specification ----


def signed(value):
    value &= U64
    return value - (1 << 64) if value >> 63 else value


def holds(condition, args):
    """condition: (argument, mask or None, values)"""
    arg, mask, values = condition
    got = args[arg]
    if mask is not None:
        return got & mask & U64 == values[0] & U64
    for value in map(signed, values):
        word = value & U32
        if -(1 << 31) <= value <= U32:
            if got == word or (word >> 31 and got == word | U32 << 32):
                return True
        elif got == value & U64:
            return True
    return False


class Spec:
    """A role as data: entries of (call, conditions), calls that are killed, a default."""

    def __init__(self, numbers, default=KILL):
        self.numbers, self.default = numbers, default
        self.entries, self.kills = [], []

    def decide(self, audit, arch, number, args):
        if arch != AUDIT[audit] or (audit == "x86_64" and number >= X32):
            return KILL
        if number in {self.numbers[name] for name in self.kills}:
            return KILL
        for name, conditions in self.entries:
            if self.numbers[name] == number and all(holds(condition, args) for condition in conditions):
                return ALLOW
        return self.default

    def conditions(self, number):
        return [c for name, conditions in self.entries if self.numbers[name] == number for c in conditions]


def near(condition, chance):
    """A value that meets the condition, or just misses it."""
    _, mask, values = condition
    value = chance.choice(values) & U64
    if mask is not None:
        value |= chance.getrandbits(64) & ~mask & U64
    kind = chance.randrange(8)
    if kind == 0:
        return value ^ 1 << chance.randrange(64)
    if kind == 1:
        return value & U32
    if kind == 2:
        return value | U32 << 32
    if kind == 3:
        return value + chance.choice((-1, 1)) & U64
    return value


def argument_lists(spec, number, chance):
    conditions = spec.conditions(number)
    if not conditions:
        return [[chance.getrandbits(64) for _ in range(6)]]
    lists = [[0] * 6, [U64] * 6]
    for _ in range(60):
        args = [chance.getrandbits(64) for _ in range(6)]
        for condition in chance.sample(conditions, len(conditions)):
            args[condition[0]] = near(condition, chance)
        lists.append(args)
    for _, alternative in (entry for entry in spec.entries if spec.numbers[entry[0]] == number):
        args = [0] * 6
        for condition in alternative:
            args[condition[0]] |= condition[2][0] & U64
        lists.append(args)
    return lists


def disagreement(spec, audit, program, chance):
    """None, or the first input for which program and specification differ, over everything worth asking."""
    def differs(arch, number, args):
        wanted, got = spec.decide(audit, arch, number, args), run_bpf(program, number, arch, args)[0]
        return wanted != got and f"arch {arch:#x} number {number} args {args}: {got:#x}, not {wanted:#x}"

    for number in range(1024):
        for args in argument_lists(spec, number, chance):
            found = differs(AUDIT[audit], number, args)
            if found:
                return found
    zero = [0] * 6
    odd = [X32 + number for number in range(1024)] + [X32 - 1, 1 << 31, U32, U32 - 1, 1024, 65536]
    for arch, number in [(AUDIT[audit], number) for number in odd] + [
            (arch, number) for arch in FOREIGN_AUDIT for number in [*range(1024), X32 + 1, U32]]:
        found = differs(arch, number, zero)
        if found:
            return found
    return None


# ---- call numbers, read from the headers in another way than the tool's ----


def header_paths():
    run = subprocess.run([*shlex.split(CC), "-M", "-x", "c", "-"], input="#include <asm/unistd.h>\n"
                         "#include <asm-generic/unistd.h>\n", text=True, capture_output=True, check=True)
    return [path for path in run.stdout.split() if path.endswith(".h")]


def header_numbers(arch):
    wanted = "unistd_64.h" if arch == "x86_64" else "asm-generic/unistd.h"
    path = [path for path in header_paths() if path.endswith(wanted)][0]
    with open(path, encoding="utf-8") as file:
        found = re.findall(r"^#define __NR(?:3264)?_(\w+)\s+(\d+)$", file.read(), re.M)
    # names of 32-bit machines and of nothing
    return {name: int(number) for name, number in found
            if not name.endswith("time64") and name not in ("syscalls", "arch_specific_syscall", "sync_file_range2",
                                                            "fstatat", "stat", "lstat")}


STABLE = {"x86_64": {"read": 0, "open": 2, "mmap": 9, "ioctl": 16, "clone": 56, "fcntl": 72, "openat": 257,
                     "newfstatat": 262, "seccomp": 317, "clone3": 435},
          "aarch64": {"read": 63, "mmap": 222, "ioctl": 29, "clone": 220, "fcntl": 25, "openat": 56,
                      "newfstatat": 79, "renameat": 38, "seccomp": 277, "clone3": 435, "epoll_pwait": 22}}


def test_numbers():
    for arch in ARCHES:
        for name, number in STABLE[arch].items():
            result = generate(f"/* seccomp io: {name} */", arch)
            program = result.programs.get("io")
            allowed = program and [n for n in range(1024) if run_bpf(program, n, AUDIT[arch], [0] * 6)[0] == ALLOW]
            ok(allowed == [number], f"{arch}: {name} is {number}", f"{allowed} {result.stderr}")


# ---- errors ----

ERRORS = [  # source, what the message starts with, what it names
    ("/* seccomp io read */", "x.c:1: ", "not of the form"),
    ("/* seccomp: read */", "x.c:1: ", "not of the form"),
    ("/* seccomp IO: read */", "x.c:1: ", "not of the form"),
    ("/*\n * seccomp filters are made elsewhere\n */", "x.c:1: ", "prose"),
    ("// seccomp io: read", "x.c:1: ", "/* */"),
    ("/* seccomp io: */", "x.c:1: ", "not a system call"),
    ("/* seccomp io: read,, write */", "x.c:1: ", "not a system call"),
    ("/* seccomp io: read, */", "x.c:1: ", "not a system call"),
    ("/* seccomp io: read write */", "x.c:1: ", '"read write"'),
    ("int a;\n\n/* seccomp io: nosuchcall */", "x.c:3: ", "nosuchcall: no such system call on"),
    ("/* seccomp io: read,\n *             write,\n *   nosuchcall\n */", "x.c:3: ", "nosuchcall"),
    ("/* seccomp io: syscalls */", "x.c:1: ", "no such system call"),
    ("/* seccomp io: ioctl(1=NOT_A_CONSTANT) */", "x.c:1: ", "NOT_A_CONSTANT"),
    ("/* seccomp io: read,\n ioctl(1=TIOCGWINSZ|\n NOT_A_CONSTANT) */", "x.c:2: ", "NOT_A_CONSTANT"),
    ("/* seccomp io: ioctl(1=getpid) */", "x.c:1: ", ""),
    ("/* seccomp io: ioctl(6=1) */", "x.c:1: ", '"6=1"'),
    ("/* seccomp io: ioctl(1) */", "x.c:1: ", '"1"'),
    ("/* seccomp io: ioctl() */", "x.c:1: ", "not a condition"),
    ("/* seccomp io: ioctl(1=) */", "x.c:1: ", "not a number"),
    ("/* seccomp io: ioctl(1=1|) */", "x.c:1: ", "not a number"),
    ("/* seccomp io: ioctl(1=1 */", "x.c:1: ", "ioctl(1=1"),
    ("/* seccomp io: ioctl(1=1)) */", "x.c:1: ", "not a system call"),
    ("/* seccomp io: ioctl(1=1)(2=2) */", "x.c:1: ", "not a system call"),
    ("/* seccomp io: ioctl(1=1;2=2) */", "x.c:1: ", "not a number"),
    ("/* seccomp io: ioctl(1=1, 1=2) */", "x.c:1: ", "two equalities"),
    ('/* seccomp io: ioctl(1=("a")) */', "x.c:1: ", "not a number"),
    ("/* seccomp io: mmap(2&PROT_EXEC) */", "x.c:1: ", "not a condition"),
    ("/* seccomp io: mmap(2&=0) */", "x.c:1: ", "not a number"),
    ("/* seccomp io: mmap(2&PROT_EXEC|PROT_READ=0) */", "x.c:1: ", "not a number"),
    ("/* seccomp io: mmap(2&PROT_EXEC=0|4) */", "x.c:1: ", "one value for a mask"),
    ("/* seccomp io: mmap(2&PROT_EXEC=PROT_READ) */", "x.c:1: ", "outside the mask"),
    ("/* seccomp io: default errno ENOSYS */\n/* seccomp io: default errno EPERM */", "x.c:2: ", "x.c:1"),
    ("/* seccomp io: default errno ENOSUCHERRNO */", "x.c:1: ", "ENOSUCHERRNO"),
    ("/* seccomp io: default errno 4096 */", "x.c:1: ", "not an errno"),
    ("/* seccomp io: default errno 0 */", "x.c:1: ", "not an errno"),
    ("/* seccomp io: default allow */", "x.c:1: ", "allow"),
    ("/* seccomp io: read */\n/* seccomp io: kill ptrace */", "x.c:2: ", "kills by default"),
    ("/* seccomp io: default errno ENOSYS */\n/* seccomp io: ptrace */\n/* seccomp io: kill ptrace */", "x.c:3: ",
     "x.c:2"),
    ("/* seccomp io: default errno ENOSYS */\n/* seccomp io: kill mmap(2&4=4) */", "x.c:2: ", "without conditions"),
    ("/* seccomp io: ioctl(1=" + "|".join(map(str, range(4200))) + ") */", "role io: ", "4096"),
]


def test_errors():
    for source, start, text in ERRORS:
        result = generate(source)
        ok(result.code == 1 and result.stderr.startswith(start) and text in result.stderr and not result.output,
           f"error: {' '.join(source.split())[:70]}", f"code {result.code}: {result.stderr}")
    result = generate("/* seccomp io: open */", "aarch64")
    ok(result.code == 1 and "x.c:1: open: no such system call on aarch64" in result.stderr,
       "error: x86 call on aarch64", result.stderr)
    result = generate("/* seccomp io: read */", cc="no-such-compiler")
    ok(result.code == 1 and "no-such-compiler: " in result.stderr, "error: no compiler", result.stderr)
    result = generate("/* seccomp io: read */", cc=f"{CC} -nostdinc")
    ok(result.code == 1 and "cannot read the kernel's headers" in result.stderr, "error: no headers", result.stderr)
    result = generate({}, options=["missing.c"])
    ok(result.code == 1 and "missing.c: No such file" in result.stderr, "error: no source", result.stderr)
    ok(generate("", options=[], out=False).code == 2, "error: nothing to do")


# ---- reading and merging ----

TEXTS = {
    "a.c": """/* seccomp_enter is a function, and this is prose. */
const char *text = "/* seccomp io: reboot */", quote = '"'; // "
/* seccomp io vcpu: futex, ioctl(1=KVM_RUN) */
/**
 * seccomp io: mmap(2&PROT_EXEC=0), ioctl(
 *    1=KVM_SET_REGS|KVM_RUN),
 *    close
 */
""",
    "b.c": """/* seccomp io: close, futex(1=FUTEX_WAIT), nosuchcall?, nosuchcall(0=1)? */
/* seccomp io: mmap(3=MAP_PRIVATE, 4=-1) */
/* seccomp io: mmap(3=(MAP_PRIVATE|MAP_ANONYMOUS), 4=-1), kill */
/* seccomp qemu: default errno ENOSYS */
/* seccomp qemu: kill ptrace, kill, nosuchcall? */
/* seccomp qemu: kill mount */
/* seccomp qemu: read */
""",
}
LIST = """io allow close a.c:7 b.c:1
io allow futex a.c:3 b.c:1
io allow ioctl(1=KVM_RUN|KVM_SET_REGS) a.c:3 a.c:5
io allow kill b.c:3
io allow mmap(2&PROT_EXEC=0) or (3=MAP_PRIVATE|(MAP_PRIVATE|MAP_ANONYMOUS), 4=-1) a.c:5 b.c:2 b.c:3
qemu default errno ENOSYS b.c:4
qemu kill kill b.c:5
qemu kill mount b.c:6
qemu kill ptrace b.c:5
qemu allow read b.c:7
vcpu allow futex a.c:3
vcpu allow ioctl(1=KVM_RUN) a.c:3
"""


def test_merging():
    result = generate(TEXTS, options=["--list"])
    ok(result.stdout == LIST, "--list", result.stdout + result.stderr)
    ok(result.table == [("io", "5"), ("qemu", "1"), ("vcpu", "2")], "table", result.table)
    ok(result.output and generate(TEXTS).output == result.output, "the same sources make the same file")
    ok(generate(TEXTS, options=["--list"], out=False).stdout == LIST, "--list without --out")
    one = generate("/* seccomp io: mmap(0=1, 1=2), mmap(0=1), mmap(0=1, 2=3), mmap(0=4) */", options=["--list"])
    ok(one.stdout == "io allow mmap(0=1|4) x.c:1\n", "alternatives covered by others go", one.stdout + one.stderr)
    foreign = "aarch64" if HOST != "aarch64" else None
    if foreign:
        output = generate("/* seccomp io: ioctl(1=KVM_RUN) */", foreign).output
        ok('_Static_assert((long long)(KVM_RUN) == 44672ll, "x.c:1");' in output,
           "constants from another machine's headers are checked by the right compiler", output)
    ok("KVM_RUN" in result.output and "_Static_assert" not in result.output, "constants from the right headers are not")


# ---- random roles ----

CONSTANTS = [("PROT_EXEC", 4), ("KVM_RUN", 0xAE80), ("AT_FDCWD", -100), ("-1", -1), ("~PROT_EXEC", -5),
             ("(CLONE_VM|CLONE_FS)", 0x300), ("KVM_GET_SUPPORTED_CPUID", 0xC008AE05), ("0", 0), ("0x80000000", 1 << 31),
             ("(1ull<<32)", 1 << 32), ("(-1 - 0x7fffffff)", -(1 << 31)), ("(-2ll - 0x7fffffff)", -(1 << 31) - 1),
             ("0xffffffff", U32), ("0x7fffffffffffffff", U64 >> 1), ("(1ull<<63)", 1 << 63)]


def random_value(chance):
    if chance.random() < 0.5:
        return chance.choice(CONSTANTS)
    value = chance.getrandbits(chance.choice((4, 16, 31, 32, 33, 64)))
    return hex(value), value


def random_condition(arg, chance, text):
    if chance.random() < 0.5:
        mask_text, mask = random_value(chance)
        value = chance.choice((0, mask, mask & chance.getrandbits(64))) & U64
        text.append(f"{arg}&{mask_text}={value:#x}")
        return arg, mask, [value]
    values = [random_value(chance) for _ in range(chance.randrange(1, 5))]
    text.append(f"{arg} = " + " | ".join(value_text for value_text, _ in values))
    return arg, None, [value for _, value in values]


def random_entry(name, chance):
    """(conditions, text): often none, else a few on different arguments; the union of alternatives has a chance."""
    if chance.random() < 0.7:
        return [], name
    texts = []
    args = chance.sample(range(6), chance.choice((1, 1, 2, 3)))
    conditions = [random_condition(arg, chance, texts) for arg in args]
    return conditions, f"{name}({', '.join(texts)})" + chance.choice(("", "", "?"))


def random_names(numbers, chance):
    """Some calls anywhere and some in a row."""
    names = sorted(numbers, key=numbers.get)
    chosen = set(chance.sample(names, chance.choice((1, 5, 20, 60))))
    for _ in range(chance.randrange(4)):
        start = chance.randrange(len(names))
        chosen.update(names[start:start + chance.randrange(2, 40)])
    return sorted(chosen)


def random_role(role, numbers, chance):
    """(specification, comments)"""
    names = random_names(numbers, chance)
    errno = chance.choice((None, None, 38, 1, 4095))
    spec = Spec(numbers, KILL if errno is None else 0x50000 | errno)
    comments, texts = [], []
    if errno is not None:
        comments.append(f"/* seccomp {role}: default errno {errno} */")
        spec.kills = chance.sample(names, len(names) // 4)
        if spec.kills:
            comments.append(f"/* seccomp {role}: kill {', '.join(spec.kills)} */")
    for name in set(names) - set(spec.kills):
        for _ in range(chance.choice((1, 1, 1, 2, 4))):
            conditions, text = random_entry(name, chance)
            spec.entries.append((name, conditions))
            texts.append(text)
    chance.shuffle(texts)
    while texts:
        piece, texts = texts[:9], texts[9:]
        comments.append(f"/* seccomp {role}: " + chance.choice((", ", ",\n *    ")).join(piece) + " */")
    return spec, comments


def test_random():
    for arch in ARCHES:
        numbers = header_numbers(arch)
        for seed in range(1, 4):
            chance = random.Random(f"{arch} {seed}")
            made = {f"r{index}": random_role(f"r{index}", numbers, chance) for index in range(12)}
            comments = [comment for _, lines in made.values() for comment in lines]
            chance.shuffle(comments)
            half = len(comments) // 2
            result = generate({"a.c": "\n".join(comments[:half]), "b.c": "\n".join(comments[half:])}, arch)
            notes = [result.stderr] if result.code else []
            for role, (spec, _) in made.items():
                program = result.programs.get(role, [])
                if not is_valid(program):
                    notes.append(f"{role}: the kernel would refuse {len(program)} instructions")
                    continue
                found = disagreement(spec, arch, program, chance)
                if found:
                    notes.append(f"{role}: {found}")
            ok(not notes, f"{arch}: 12 random roles, seed {seed}, decide as specified", "\n".join(notes))
            if arch == HOST:
                check_kernel_takes(result.programs, seed)


# ---- shape ----

BUSY = """read write readv writev epoll_pwait epoll_ctl futex close recvmsg sendmsg exit_group ioctl mmap munmap madvise
mprotect brk rt_sigreturn rt_sigprocmask rt_sigaction clock_gettime clock_nanosleep getpid gettid tgkill exit
sched_yield getrandom eventfd2 timerfd_settime fcntl lseek pread64 pwrite64 fstat newfstatat fallocate
fdatasync socketpair restart_syscall""".split()


def test_shape():
    """What installing costs is counted in instructions, and in steps of the kernel's dry run over all numbers."""
    for arch in ARCHES:
        for calls, most in ((12, 8), (40, 10)):
            program = generate(f"/* seccomp io: {', '.join(BUSY[:calls])} */", arch).programs["io"]
            steps = [run_bpf(program, number, AUDIT[arch], [0] * 6)[1] for number in range(460)]
            ok(len(program) <= calls + 9 and max(steps) <= most + 4 and sum(steps) / 460 <= most,
               f"{arch}: {calls} calls: about an instruction for each, few steps to any answer",
               f"{len(program)} instructions, {max(steps)} steps at most, {sum(steps) / 460} on average")

    numbers = header_numbers(HOST)
    spec = Spec(numbers, 0x50001)
    names = sorted(numbers)[:200]
    spec.entries = [(name, [(0, None, [index, index + (1 << 33)]), (5, 0xF0F, [0x101])])
                    for index, name in enumerate(names)]
    spec.entries = [entry for entry in spec.entries if entry[0] != "ptrace"]
    spec.kills = ["ptrace"]
    lines = [f"{name}(0={c[0][2][0]}|{c[0][2][1]}, 5&0xf0f=0x101)" for name, c in spec.entries]
    result = generate("/* seccomp io: default errno 1 */ /* seccomp io: kill ptrace */"
                      f"/* seccomp io: {', '.join(lines)} */")
    program = result.programs["io"]
    found = disagreement(spec, HOST, program, random.Random(1))
    ok(len(program) > 1500 and any(code == 0x05 for code, _, _, _ in program) and is_valid(program) and not found,
       "conditions for 200 calls: jumps beyond 255 instructions", f"{len(program)} instructions; {found}")
    check_kernel_takes(result.programs, "far")


# ---- the kernel's opinion ----


class Filter(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32)]


class Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.POINTER(Filter))]


def kernel_takes(program):
    """Installs it in a child, which then ends or is killed: both mean that it was taken."""
    libc = ctypes.CDLL(None, use_errno=True)
    filters = (Filter * len(program))(*(Filter(*instruction) for instruction in program))
    fprog = Program(len(program), filters)
    child = os.fork()
    if child == 0:
        libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
        libc.prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE: no core file of the kill to come
        if libc.prctl(22, 2, ctypes.byref(fprog)) < 0:  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
            os._exit(1)
        os.abort()  # ends in an illegal instruction where a filter answers every call with an errno
    status = os.waitpid(child, 0)[1]
    return os.WIFSIGNALED(status)


def check_kernel_takes(programs, seed):
    name = f"the kernel takes the programs of seed {seed}"
    if not kernel_takes([(0x06, 0, 0, ALLOW)]):
        skip(name, "no seccomp filters here")
        return
    refused = [role for role, program in programs.items() if not kernel_takes(program)]
    ok(programs and not refused, name, " ".join(refused))


def main():
    test_numbers()
    test_errors()
    test_merging()
    test_random()
    test_shape()
    print(f"1..{count}")
    sys.exit(failures != 0)


main()
