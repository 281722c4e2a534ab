#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes seccomp filters from comments that stand beside the code that needs the system calls.

    /* seccomp io vcpu: futex, mmap(2&PROT_EXEC=0), open? */
    /* seccomp vcpu: ioctl(1=KVM_RUN|KVM_SET_REGS) */
    /* seccomp qemu: default errno ENOSYS */
    /* seccomp qemu: kill ptrace, mount */

A comment whose first word is "seccomp" is always read as one of these; prose starts with another word.
Roles are whatever the comments name. What a role does not list kills the process, or gives the role's
default errno. `?` after a call (and its conditions) means: where the architecture has it.

Conditions in one pair of parentheses must all hold; entries for the same call are alternatives, and one
without conditions admits every argument. N counts arguments from 0:

    N=VALUE|VALUE    equals one of the values. A value of 32 bits wants the high half zero. If its top bit
                     is set, the high half may also be all ones: C libraries pass an int in either form
                     (AT_FDCWD; every ioctl request that reads, with musl). Other values are compared whole.
    N&MASK=VALUE     the bits in MASK equal VALUE. Bits outside MASK do not matter: PROT_EXEC leaves the
                     high half alone, ~PROT_EXEC is negative and so covers it.

A VALUE or MASK is a number, a C constant, or a C expression in parentheses, each maybe after ~ or -.
The C compiler evaluates them with the headers below.
"""
import argparse
import collections
import dataclasses
import os
import re
import shlex
import subprocess
import sys

ARCHES = {  # name: (AUDIT_ARCH, the compiler's own macro)
    "x86_64": (0xC000003E, "__x86_64__"),
    "aarch64": (0xC00000B7, "__aarch64__"),
}
X32 = 0x40000000  # numbers from here on are the x32 ABI's on x86_64, and nobody's elsewhere

# Each only where the compiler has it: a libc without the kernel's headers is met with "undeclared" later.
HEADERS = """errno.h fcntl.h poll.h sched.h signal.h sys/epoll.h sys/eventfd.h sys/ioctl.h sys/mman.h sys/prctl.h
sys/resource.h sys/socket.h sys/stat.h sys/timerfd.h sys/wait.h termios.h time.h unistd.h netinet/in.h netinet/tcp.h
linux/futex.h linux/kvm.h linux/memfd.h linux/seccomp.h linux/vhost.h linux/vm_sockets.h""".split()

ALLOW, KILL = "allow", "kill"
RETURN_ALLOW, RETURN_KILL, RETURN_ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
LOAD, AND, JA, JEQ, JGE, JSET, RET = 0x20, 0x54, 0x05, 0x15, 0x35, 0x45, 0x06
MAX_INSTRUCTIONS = 4096


class Fault(Exception):
    """The message for the user, with its file:line."""


# ---- reading the comments ----

Entry = collections.namedtuple("Entry", "roles action call optional conditions place")
# mask is None for an equality; texts are C
Condition = collections.namedtuple("Condition", "arg mask values place")

LEXEME = re.compile(r'//(?P<line>[^\n]*)|/\*(?P<block>.*?)\*/|"(?:\\.|[^"\\\n])*"|' r"'(?:\\.|[^'\\\n])*'", re.S)
FIRST_WORD = re.compile(r"[\s*]*seccomp(?=[\s:])")
HEAD = re.compile(r"[\s*]*seccomp((?:\s+[a-z][a-z0-9_]*)+)\s*:")
CALL = re.compile(r"(\w+)\s*(\(.*\))?\s*(\?)?", re.S)
CONDITION = re.compile(r"([0-5])\s*(?:&([^=]*))?=(.*)", re.S)


def pieces(text, separator):
    """Splits at the separators outside parentheses; yields (offset of the first character that counts, piece)."""
    depth = start = 0
    for at, char in enumerate(text + separator):
        depth += (char == "(") - (char == ")")
        if at == len(text) or (char == separator and depth == 0):
            piece = text[start:at]
            yield start + len(piece) - len(piece.lstrip()), piece.strip()
            start = at + 1


def is_closed_group(text):
    """One pair of parentheses around everything, not "(a)|(b)"."""
    depth = 0
    for at, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if depth == 0:
            return at == len(text) - 1
    return False


def is_value(text):
    text = re.sub(r"^[-~\s]+", "", text)
    if text.startswith("("):
        return is_closed_group(text) and re.fullmatch(r"[\w\s|&~+<>()-]+", text)
    return re.fullmatch(r"\w+", text)


class Comment:
    """One annotation: its text and where it starts."""

    def __init__(self, path, line, text):
        self.path, self.line = path, line
        self.text = re.sub(r"(\n[ \t]*)\*", r"\1 ", text)  # the stars that lead a comment's lines

    def place(self, offset):
        return f"{self.path}:{self.line + self.text.count(chr(10), 0, offset)}"

    def fault(self, offset, text):
        return Fault(f"{self.place(offset)}: {text}")

    def entries(self):
        head = HEAD.match(self.text)
        if not head:
            raise self.fault(0, 'not of the form "seccomp ROLE...: CALL, CALL(CONDITION), ..." '
                                "(prose must not start with the word seccomp)")
        roles = head.group(1).split()
        at = head.end()
        default = re.fullmatch(r"\s*default\s+(.*)", self.text[at:].rstrip(), re.S)
        if default:
            action = re.fullmatch(r"errno\s+(\w+)", default.group(1))
            if not action:
                raise self.fault(at, f'default "{default.group(1)}": only "errno NAME" is known')
            yield Entry(roles, "default", action.group(1), False, (), self.place(at + default.start(1)))
            return
        kill = re.match(r"\s*kill\s+(?=\w)", self.text[at:])  # "kill" itself is a system call as well
        if kill:
            at += kill.end()
        for offset, piece in pieces(self.text[at:], ","):
            yield self.entry(roles, KILL if kill else ALLOW, at + offset, piece)

    def entry(self, roles, action, at, piece):
        call = CALL.fullmatch(piece)
        if not call or (call.group(2) and not is_closed_group(call.group(2))):
            raise self.fault(at, f'"{piece}": not a system call, or one with conditions in parentheses')
        conditions = ()
        if call.group(2):
            if action == KILL:
                raise self.fault(at, f"{call.group(1)}: a call is killed whole, without conditions")
            inside = at + call.start(2) + 1
            conditions = tuple(self.condition(inside + offset, text)
                               for offset, text in pieces(call.group(2)[1:-1], ","))
            equals = [c.arg for c in conditions if c.mask is None]
            if len(equals) != len(set(equals)):
                raise self.fault(at, f"{call.group(1)}: two equalities for one argument")
        return Entry(roles, action, call.group(1), bool(call.group(3)), conditions, self.place(at))

    def condition(self, at, text):
        parts = CONDITION.fullmatch(text)
        if not parts:
            raise self.fault(at, f'"{text}": not a condition N=VALUE|VALUE... or N&MASK=VALUE with N from 0 to 5')
        arg, mask = int(parts.group(1)), parts.group(2) and parts.group(2).strip()
        values = [value for _, value in pieces(parts.group(3), "|")]
        for value in values + ([] if mask is None else [mask]):
            if not is_value(value):
                raise self.fault(at, f'"{value}": not a number, a constant or an expression in parentheses')
        if mask is not None and len(values) > 1:
            raise self.fault(at, f'"{text}": one value for a mask; put A|B in parentheses')
        return Condition(arg, mask, tuple(values), self.place(at))


def read_comments(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read()
    except OSError as error:
        raise Fault(f"{path}: {error.strerror}") from error
    for lexeme in LEXEME.finditer(text):
        line = text.count("\n", 0, lexeme.start()) + 1
        if lexeme.group("line") is not None and FIRST_WORD.match(lexeme.group("line")):
            raise Fault(f"{path}:{line}: calls are named in a comment of the form /* */")
        if lexeme.group("block") is not None and FIRST_WORD.match(lexeme.group("block")):
            yield from Comment(path, line, lexeme.group("block")).entries()


# ---- what only the compiler and the kernel's headers know ----


class Compiler:
    def __init__(self, command, arch):
        self.command = shlex.split(command)
        macros = self.macros("#include <asm/unistd.h>\n")
        self.native = ARCHES[arch][1] in macros and "__LP64__" in macros
        if not self.native:
            macros = self.foreign_macros(arch, macros)
        self.numbers = {}
        for name in macros:
            number = self.number(macros, name)
            if name.startswith("__NR_") and name not in ("__NR_syscalls", "__NR_arch_specific_syscall") \
                    and number is not None:
                self.numbers[name[len("__NR_"):]] = number

    def run(self, arguments, source):
        try:
            return subprocess.run([*self.command, *arguments, "-x", "c", "-"], input=source, text=True, check=False,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "LC_ALL": "C"})
        except OSError as error:
            raise Fault(f"{self.command[0]}: {error.strerror}") from error

    def macros(self, source):
        result = self.run(["-E", "-dM"], source)
        if result.returncode:
            raise Fault(f"{shlex.join(self.command)}: cannot read the kernel's headers:\n{result.stderr.rstrip()}")
        return {parts[1]: parts[2].strip() if len(parts) > 2 else ""
                for parts in (line.split(None, 2) for line in result.stdout.splitlines())}

    def foreign_macros(self, arch, macros):
        """aarch64 has the kernel's generic numbers, which every machine with a 64-bit long can read."""
        if arch != "aarch64" or "__LP64__" not in macros:
            raise Fault(f"{shlex.join(self.command)}: not a compiler for {arch}")
        wanted = ("RENAMEAT", "NEW_STAT", "SET_GET_RLIMIT", "TIME32_SYSCALLS", "SYS_CLONE3", "MEMFD_SECRET")
        return self.macros("".join(f"#define __ARCH_WANT_{name}\n" for name in wanted)
                           + "#include <asm-generic/unistd.h>\n")

    @staticmethod
    def number(macros, name):
        for _ in range(4):  # an alias of an alias, as __NR_mmap is on aarch64
            name = macros.get(name, name)
        return int(name) if name.isdecimal() else None

    @staticmethod
    def headers():
        return "".join(f"#if __has_include(<{name}>)\n#include <{name}>\n#endif\n" for name in HEADERS)

    def evaluate(self, texts):
        """{C text: its file:line} to {C text: number}. The compiler writes the numbers into assembler text."""
        source = "#define _GNU_SOURCE\n" + self.headers() + "void probe(void);\nvoid probe(void)\n{\n"
        for index, (text, place) in enumerate(texts.items()):
            path, line = place.rsplit(":", 1)
            path = path.replace("\\", "\\\\").replace('"', '\\"')
            source += f'#line {line} "{path}"\n'
            source += f'__asm__(".ascii \\"={index} %0=\\"" : : "i"((long long)({" ".join(text.split())})));\n'
        result = self.run(["-S", "-O0", "-o", "-"], source + "}\n")
        if result.returncode:
            errors = re.findall(r"^(.+:\d+):\d+:(?: fatal)? error: (.*)$", result.stderr, re.M)
            raise Fault("\n".join(f"{place}: {text}" for place, text in errors) or result.stderr.rstrip())
        found = dict(re.findall(r'"=(\d+) [$#]?(-?\d+)="', result.stdout))
        return {text: int(found[str(index)]) for index, text in enumerate(texts)}


# ---- roles: the comments merged and in numbers ----


@dataclasses.dataclass(frozen=True)
class Value:
    number: int  # of 64 bits, negative or not
    text: str = dataclasses.field(compare=False)


@dataclasses.dataclass(frozen=True)
class Equal:
    arg: int
    values: frozenset

    def sorted_values(self):
        return sorted(self.values, key=lambda value: value.number & 0xFFFFFFFFFFFFFFFF)

    def __str__(self):
        return f"{self.arg}=" + "|".join(value.text for value in self.sorted_values())


@dataclasses.dataclass(frozen=True)
class Masked:
    arg: int
    mask: Value
    value: Value

    def __str__(self):
        return f"{self.arg}&{self.mask.text}={self.value.text}"


@dataclasses.dataclass
class Call:
    """What one role says of one call: each alternative is a set of conditions, the empty set admits everything."""

    name: str
    action: str
    alternatives: list
    places: list

    def merge(self, alternative):
        for other in list(self.alternatives):
            if other <= alternative:
                return
            united = unite(other, alternative)
            if united or alternative <= other:
                self.alternatives.remove(other)
            if united:
                self.merge(united)  # which may now join or cover another
                return
        self.alternatives.append(alternative)

    def is_conditional(self):
        return self.action == ALLOW and frozenset() not in self.alternatives

    def __str__(self):
        return self.name + " or ".join("(" + ", ".join(map(str, in_order(alternative))) + ")"
                                       for alternative in self.alternatives if alternative)


def unite(one, other):
    """Two alternatives that only differ in the values for one argument as one alternative, else None."""
    differing = list(one ^ other)
    if len(differing) != 2 or not all(isinstance(c, Equal) for c in differing) or differing[0].arg != differing[1].arg:
        return None
    return (one & other) | {Equal(differing[0].arg, differing[0].values | differing[1].values)}


def in_order(alternative):
    return sorted(alternative, key=lambda c: (c.arg, isinstance(c, Masked), str(c)))


class Role:
    def __init__(self, name):
        self.name = name
        self.calls = {}  # number: Call
        self.default = KILL
        self.default_place = None
        self.returns = {ALLOW: RETURN_ALLOW, KILL: RETURN_KILL}

    def add(self, entry, number, alternative):
        call = self.calls.get(number)
        if call is None:
            self.calls[number] = Call(entry.call, entry.action, [alternative], [entry.place])
            return
        if call.action != entry.action:
            raise Fault(f"{entry.place}: {entry.call}: role {self.name} has it as {call.action} at {call.places[0]}")
        call.merge(alternative)
        if entry.place not in call.places:
            call.places.append(entry.place)

    def set_default(self, errno, place):
        default = f"errno {errno.text}"
        if self.default_place and self.default != default:
            raise Fault(f"{place}: role {self.name} has default {self.default} at {self.default_place}")
        if not 0 < errno.number < 4096:
            raise Fault(f"{place}: {errno.text}: not an errno")
        self.default, self.default_place = default, place
        self.returns[default] = RETURN_ERRNO | errno.number

    def check(self):
        for call in self.calls.values():
            if call.action == KILL and self.default == KILL:
                raise Fault(f"{call.places[0]}: {call.name}: role {self.name} kills by default")

    def allowed(self):
        return sum(call.action == ALLOW for call in self.calls.values())

    def lines(self):
        if self.default_place:
            yield f"{self.name} default {self.default} {self.default_place}"
        for call in sorted(self.calls.values(), key=lambda call: call.name):
            yield f"{self.name} {call.action} {call} {' '.join(call.places)}"


def resolve_condition(condition, values):
    resolved = [Value(values[text], text) for text in condition.values]
    if condition.mask is None:
        return Equal(condition.arg, frozenset(resolved))
    mask = Value(values[condition.mask], condition.mask)
    if resolved[0].number & ~mask.number:
        raise Fault(f"{condition.place}: {mask.text}={resolved[0].text}: the value has bits outside the mask")
    return Masked(condition.arg, mask, resolved[0])


def expressions(entries):
    texts = {}
    for entry in entries:
        if entry.action == "default":
            texts.setdefault(entry.call, entry.place)
        for condition in entry.conditions:
            for text in condition.values + (() if condition.mask is None else (condition.mask,)):
                texts.setdefault(text, condition.place)
    return texts


def make_roles(entries, compiler, arch):
    texts = expressions(entries)
    values = compiler.evaluate(texts) if texts else {}
    roles = {}
    for entry in entries:
        for name in entry.roles:
            role = roles.setdefault(name, Role(name))
            if entry.action == "default":
                role.set_default(Value(values[entry.call], entry.call), entry.place)
            elif entry.call in compiler.numbers:
                alternative = frozenset(resolve_condition(c, values) for c in entry.conditions)
                role.add(entry, compiler.numbers[entry.call], alternative)
            elif not entry.optional:
                raise Fault(f"{entry.place}: {entry.call}: no such system call on {arch} "
                            f'(write "{entry.call}?" if it need not exist)')
    for role in roles.values():
        role.check()
    return [roles[name] for name in sorted(roles)], {text: (values[text], texts[text]) for text in texts}


# ---- instructions ----


class Code:
    """Instructions collected from the last to the first: jumps only go forward, so their targets are always there.

    A target is an action, which means the nearest return of it, or a position counted from the end."""

    def __init__(self, returns):
        self.instructions = []  # (code, jt, jf, k, comment), the last one first
        self.returns = returns  # action: what the kernel is told
        self.nearest = {}  # action: position

    def put(self, code, k, comment, jt=0, jf=0):
        self.instructions.append((code, jt, jf, k, comment))
        return len(self.instructions) - 1

    def reach(self, target):
        """A position for the target that a conditional jump reaches, even after one more instruction."""
        position = self.nearest.get(target) if isinstance(target, str) else target
        if position is not None and len(self.instructions) - position <= 255:
            return position
        if isinstance(target, str):
            self.nearest[target] = self.put(RET, self.returns[target], target)
            return self.nearest[target]
        return self.put(JA, len(self.instructions) - position - 1, "far")

    def jump(self, code, k, yes, no, comment):
        yes, no = self.reach(yes), self.reach(no)
        here = len(self.instructions)
        return self.put(code, k, comment, here - yes - 1, here - no - 1)

    def load_half(self, arg, high):
        return self.put(LOAD, 16 + 8 * arg + 4 * high, f"argument {arg}, {'high' if high else 'low'} half")


def emit_equal(code, condition, yes, no):
    groups = {}  # high half: [(low half, text)]
    for value in condition.sorted_values():
        low, high = value.number & 0xFFFFFFFF, value.number >> 32 & 0xFFFFFFFF
        if -1 << 31 <= value.number < 1 << 32:
            groups.setdefault(0, []).append((low, value.text))
            high = 0xFFFFFFFF if low >> 31 else 0
        if high:
            groups.setdefault(high, []).append((low, value.text))
    entries = {}
    for high, lows in groups.items():
        target = no
        for low, text in reversed(lows):
            target = code.jump(JEQ, low, yes, target, text)
        entries[high] = code.load_half(condition.arg, False)
    target = no
    for high in reversed(sorted(groups)):
        target = code.jump(JEQ, high, entries[high], target, "")
    return code.load_half(condition.arg, True)


def emit_masked(code, condition, yes, no):
    for high in (True, False):
        shift = 32 if high else 0
        mask, value = condition.mask.number >> shift & 0xFFFFFFFF, condition.value.number >> shift & 0xFFFFFFFF
        if mask == 0:
            continue
        if value == 0:
            code.jump(JSET, mask, no, yes, condition.mask.text)
        else:
            code.jump(JEQ, value, yes, no, condition.value.text)
            if mask != 0xFFFFFFFF:
                code.put(AND, mask, condition.mask.text)
        yes = code.load_half(condition.arg, high)
    return yes


def emit_conditions(code, call, default):
    """The alternatives one after the other; yields where the first starts."""
    start = default
    for alternative in reversed(call.alternatives):
        no, start = start, ALLOW
        for condition in reversed(in_order(alternative)):
            emit = emit_masked if isinstance(condition, Masked) else emit_equal
            start = emit(code, condition, start, no)
    return start


# ---- the search for the number ----

# Installing a filter costs its compilation, about so much for an instruction, and a dry run for each number the
# kernel has, so much for a step (nanoseconds on x86_64; only their ratio matters).
INSTRUCTION_COST = 250
STEP_COST = 4


class Search:
    """The cheapest decision tree over segments of the numbers: each node cuts them in two by "number >= k" or, in
    a chain at the tree's end, takes out a single number by "number == k"."""

    def __init__(self, segments, numbers):
        self.segments = segments  # (first, last, leaf), gapless and in order
        self.weights = [max(0, min(last, numbers - 1) - first + 1) for first, last, _ in segments]
        self.memo = {}

    def best(self, i, j):
        """(cost, plan) for segments i to j."""
        if i == j:
            return 0, None
        if (i, j) not in self.memo:
            cost, plan = self.chain(i, j)
            for cut in self.cuts(i, j):
                total = (self.best(i, cut)[0] + self.best(cut + 1, j)[0] + INSTRUCTION_COST
                         + STEP_COST * sum(self.weights[i:j + 1]))
                if total < cost:
                    cost, plan = total, cut
            self.memo[i, j] = cost, plan
        return self.memo[i, j]

    @staticmethod
    def cuts(i, j):
        """Every place, or the middle ones where there are many: no good tree is far out of balance."""
        middle = (i + j) // 2
        return range(max(i, middle - 10), min(j, middle + 10))

    def chain(self, i, j):
        """All segments but those of one leaf are single numbers and are asked for one by one."""
        inside = self.segments[i:j + 1]
        wide = {leaf for first, last, leaf in inside if first != last} or {inside[0][2]}
        singles = [at for at in range(i, j + 1) if self.segments[at][2] not in wide]
        if len(wide) != 1:
            return float("inf"), None
        steps = sum(self.weights[i:j + 1]) * len(singles)
        steps -= sum(len(singles) - 1 - position for position in range(len(singles)))
        return INSTRUCTION_COST * len(singles) + STEP_COST * steps, (wide.pop(), singles)

    def emit(self, code, i, j, name):
        if i == j:
            return self.segments[i][2]
        plan = self.best(i, j)[1]
        if isinstance(plan, tuple):
            target, singles = plan
            for at in reversed(singles):
                number, _, leaf = self.segments[at]
                target = code.jump(JEQ, number, leaf, target, f"== {name(number)}")
            return target
        low = self.emit(code, i, plan, name)
        high = self.emit(code, plan + 1, j, name)
        number = self.segments[plan + 1][0]
        return code.jump(JGE, number, high, low, f">= {name(number)}")


def make_segments(leaves, default, arch):
    """{number: leaf} to gapless (first, last, leaf) over all 2^32 numbers, neighbours with one leaf as one."""
    segments = []

    def add(first, last, leaf):
        if first > last:
            return
        if segments and segments[-1][2] == leaf:
            first = segments.pop()[0]
        segments.append((first, last, leaf))

    free = 0
    for number in sorted(leaves):
        add(free, number - 1, default)
        add(number, number, leaves[number])
        free = number + 1
    end = X32 if arch == "x86_64" else 1 << 32
    add(free, end - 1, default)
    add(end, (1 << 32) - 1, KILL)
    return segments


def compile_role(role, numbers, arch):
    """The program, first instruction first."""
    names = {number: name for name, number in numbers.items()}
    code = Code(role.returns)
    leaves = {}
    for number, call in sorted(role.calls.items()):
        leaves[number] = emit_conditions(code, call, role.default) if call.is_conditional() else call.action
    segments = make_segments(leaves, role.default, arch)
    search = Search(segments, max(names) + 1)
    start = search.emit(code, 0, len(segments) - 1, lambda number: names.get(number, hex(number)))
    if isinstance(start, str):  # one action for every number
        code.put(RET, role.returns[start], start)
    code.put(LOAD, 0, "number")
    code.jump(JEQ, ARCHES[arch][0], len(code.instructions) - 1, KILL, arch)
    code.put(LOAD, 4, "architecture")
    if len(code.instructions) > MAX_INSTRUCTIONS:
        raise Fault(f"role {role.name}: {len(code.instructions)} instructions; the kernel takes {MAX_INSTRUCTIONS}")
    return code.instructions[::-1]


# ---- output ----


def format_instruction(instruction):
    code, jt, jf, k, comment = instruction
    text = f"    {{0x{code:02x}, {jt}, {jf}, 0x{k:x}}},"
    return f"{text:40}/* {comment} */" if comment else text


def generate(roles, compiler, arch, constants):
    """The C file. Constants that a compiler for another machine has evaluated are checked by the right one."""
    out = ["/* SPDX-License-Identifier: Apache-2.0 */",
           "/* Made by tools/seccomp.py from the comments in the sources. Do not edit. */",
           '#include "jail/seccomp.h"', "", "#include <stddef.h>", "", f"#ifndef {ARCHES[arch][1]}",
           f'#error "these filters are for {arch}"', "#endif", ""]
    if not compiler.native:
        out.append(compiler.headers())
        out += [f'_Static_assert((long long)({text}) == {number}ll, "{place}");'
                for text, (number, place) in constants.items()]
    for role in roles:
        out.append(f"static const struct sock_filter program_{role.name}[] = {{")
        out += map(format_instruction, compile_role(role, compiler.numbers, arch))
        out += ["};", ""]
    out.append("const struct seccomp_filter seccomp_filters[] = {")
    out += [f'    {{"{role.name}", program_{role.name}, sizeof(program_{role.name}) / sizeof(program_{role.name}[0]), '
            f"{role.allowed()}}}," for role in roles]
    return "\n".join(out + ["    {NULL, NULL, 0, 0},", "};", ""])


def main():
    parser = argparse.ArgumentParser(description="Seccomp filters from comments beside the code.")
    parser.add_argument("--cc", required=True, help="the C compiler, with options if needed")
    parser.add_argument("--arch", required=True, choices=sorted(ARCHES))
    parser.add_argument("--out", help="the C file to write")
    parser.add_argument("--list", action="store_true", help="print what each role may call, and who says so")
    parser.add_argument("sources", nargs="+", metavar="SOURCE")
    options = parser.parse_args()
    if not options.out and not options.list:
        parser.error("nothing to do: give --out, --list or both")
    try:
        entries = [entry for path in options.sources for entry in read_comments(path)]
        compiler = Compiler(options.cc, options.arch)
        roles, constants = make_roles(entries, compiler, options.arch)
        text = generate(roles, compiler, options.arch, constants)
    except Fault as fault:
        sys.exit(str(fault))
    if options.out:
        with open(options.out, "w", encoding="utf-8") as file:
            file.write(text)
    if options.list:
        for role in roles:
            print("\n".join(role.lines()))


if __name__ == "__main__":
    main()
