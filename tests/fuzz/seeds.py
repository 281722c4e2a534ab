#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""seeds.py OUT: writes the first inputs of each fuzz target to OUT/seeds-<target>/, so that a short run begins behind the first checks.
Each function below names its target and says in code what the target's comment says about its input."""
import os
import struct
import sys


def u8(v):
    return struct.pack("<B", v)


def u16(v):
    return struct.pack("<H", v)


def u32(v):
    return struct.pack("<I", v)


def u64(v):
    return struct.pack("<Q", v)


def text(s):
    return u32(len(s)) + s.encode()


def frame(kind, stream=0, ident=0, body=b""):
    return u32(len(body)) + u16(kind) + u16(stream) + u32(ident) + body


# guest/agent/proto.h
SHUTDOWN, EXEC, PUT, GET, DIAL = 3, 16, 17, 18, 19
DATA, CREDIT, EOF, SIGNAL, RESIZE, CANCEL = 32, 33, 34, 36, 37, 38
# src/worker/ctl.h
CTL_OK, CTL_ERROR, CTL_STARTED, CTL_DONE, CTL_BACKEND = 120, 121, 122, 123, 124


def record(kind, path=b"", body=b"", mode=0o644):
    return u8(kind) + u32(mode) + u64(1700000000) + u64(len(body)) + u16(len(path)) + path + body


TREE = record(2, mode=0o755) + record(1, b"file", b"content") + record(2, b"dir", mode=0o700) + record(3, b"dir/link", b"../file")


def agent():
    def exec_frame(ident, argv, flags=2, cwd="/", user="", env=()):
        body = u32(flags) + u32(24) + u32(80) + text(cwd) + text(user)
        body += u32(len(argv)) + b"".join(map(text, argv)) + u32(len(env)) + b"".join(map(text, env))
        return frame(EXEC, 0, ident, body)

    run = exec_frame(1, ["echo", "hi"], env=["A=b", "PATH=/bin"])
    yield "exec", u8(0) + run + frame(DATA, 0, 1, b"input") + frame(EOF, 0, 1) + frame(CREDIT, 1, 1, u32(100)) + frame(SIGNAL, 0, 1, u32(9))
    yield "tty", u8(0) + exec_frame(1, ["sh"], 3) + frame(RESIZE, 0, 1, u32(10) + u32(20)) + frame(DATA, 0, 1, b"exit\n") + frame(CANCEL, 0, 1)
    yield "much", u8(6) + run + frame(CREDIT, 1, 1, u32(65536)) + exec_frame(2, ["x"], 0, "", "1000:1000") + frame(CANCEL, 0, 2)
    yield "users", u8(0) + b"".join(exec_frame(i, ["x"], 0, "/tmp", u) for i, u in enumerate(["root", "1", "0:0", "nobody", ":", "4294967295:1"], 1))
    yield "fails", u8(1) + run + frame(GET, 0, 2, text("/x")) + frame(PUT, 0, 3, text("/x") + text("name")) + frame(EOF, 0, 3)
    yield "files", u8(0) + frame(PUT, 0, 1, text("/tmp/") + text("name")) + frame(DATA, 0, 1, TREE) + frame(EOF, 0, 1) + frame(GET, 0, 2, text("/etc"))
    yield "dial", u8(0) + frame(DIAL, 0, 1, u32(2)) + frame(DATA, 0, 1, b"ping") + frame(DIAL, 0, 2, u32(4)) + frame(EOF, 0, 2) + frame(DIAL, 0, 3, u32(5))
    yield "shutdown", u8(0) + run + frame(SHUTDOWN, 0, 0, u32(0)) + exec_frame(2, ["late"])
    large = frame(DATA, 0, 1, bytes(8000))
    yield "slow", u8(16) + run + large + exec_frame(2, ["x"]) + large + exec_frame(3, ["x"]) + frame(EOF, 0, 1) + exec_frame(4, ["x"]) + frame(CANCEL, 0, 1)
    yield "full", u8(16) + run + large * 3 + frame(CANCEL, 0, 1)
    yield "busy", u8(0) + b"".join(exec_frame(i, ["x"]) for i in range(1, 260))


def args():
    lines = ["--tty -e A=b -e HOME -w /tmp -u 1000:1000 -- sh -c x", "--cpus 2 --memory=512M --timeout 2.5 --scratch 64M true", "-qt -v",
             "--put a:b --get=c:d --rootfs root.erofs --hostname box --kernel-args quiet --backend kvm", "--timout 5", "--memory 99999999999999T",
             "--timeout 0.00000001 --boot-timeout .5 --timing --read-only", "--help", "-e", "--json=1", "-tx", "--memory 1K --cpus 0"]
    for i, line in enumerate(lines):
        yield f"run{i}", u8(0) + line.replace(" ", "\n").encode()
    for command in range(1, 5):
        yield f"other{command}", u8(command) + b"--json\n--help\nword\nwords"


def elf(entry_note=True, align=4, paddr=0x1000000):
    note = u32(4) + u32(3) + u32(1) + b"GNU\0" + b"abc\0" + u32(4) + u32(4) + u32(18 if entry_note else 19) + b"Xen\0" + u32(paddr)
    head = b"\x7fELF\x02\x01\x01" + bytes(9) + u16(2) + u16(62) + u32(1) + u64(paddr) + u64(64) + u64(0) + u32(0) + u16(64) + u16(56) + u16(3) + bytes(6)

    def phdr(kind, offset, at, filesz, memsz, align):
        return u32(kind) + u32(5) + u64(offset) + u64(0xFFFFFFFF80000000 + at) + u64(at) + u64(filesz) + u64(memsz) + u64(align)

    table = phdr(4, 232, 0, len(note), len(note), align) + phdr(1, 4096, paddr, 5000, 9000, 4096) + phdr(1, 512, paddr + 0x10000, 100, 100, 1)
    return (head + table + note).ljust(512, b"\0") + b"\xf4" * 8584


def bzimage():
    image = bytearray(b"\x90" * (3 * 512 + 1024))
    image[0:0x400] = bytes(0x400)
    for at, value in [(0x1F1, u8(2)), (0x1F4, u32(64)), (0x1FE, u16(0xAA55)), (0x201, u8(0x6A)), (0x202, b"HdrS"), (0x206, u16(0x20F)), (0x211, u8(1)),
                      (0x22C, u32(0x7FFFFFFF)), (0x230, u32(0x200000)), (0x236, u16(1)), (0x238, u32(2047)), (0x258, u64(0x1000000)), (0x260, u32(0x900000))]:
        image[at:at + len(value)] = value
    return bytes(image)


def boot():
    yield "pvh", elf()
    yield "entry64", elf(False)
    yield "align8", elf(True, 8)
    yield "high", elf(True, 4, 0x3F00000)
    yield "bzimage", bzimage()


def cmdline():
    for how in (0, 1, 2, 8, 12, 19, 25):
        yield f"switches{how}", u8(how) + u64(64 << 20) + b"host-1.example\0panic=1 root=/dev/vda"
    yield "spaces", u8(16) + u64(0) + b"a b\0\tx"
    yield "long", u8(16) + u64(0) + b"h" * 63 + b"\0" + b"x" * 1600


def core():
    ok, error, started, done, any_frame, raw = 0, 1, 2, 3, 5, 6

    def say(kind, body=b""):
        assert len(body) < 256
        return u8(kind) + u8(len(body)) + body

    def answer(*pieces, how=0, streams=()):
        out = u8(how) + u8(len(pieces) - 1) + b"".join(pieces)
        for s in streams:
            assert len(s) % 8 == 0
            out += u8(len(s) // 8) + s
        return out

    failure = say(error, u32(9) + u32(1) + u64(2) + text("no such thing"))
    log = b"1warning\n4console\nno level\n"
    create = u8(0) + u8(0) + u16(len(log)) + log + answer(say(ok, text("kvm")), streams=[b"", b"", b""])
    wait = answer(say(started), say(done, u32(7) + u32(0) + u32(0)), streams=[b"", b"output..", b"error..."])
    killed = answer(say(started), say(done, u32(0) + u32(9) + u32(1)), streams=[b"", b""])
    tree = TREE + record(0, mode=0)
    tree += bytes(-len(tree) % 8)
    yield "start", create + u8(0) + answer(say(ok)) + u8(6) + answer(say(ok)) + u8(7) + answer(say(ok)) + answer(say(ok))
    yield "late", create + u8(0) + answer(say(7)) + answer(say(ok))
    yield "exec", create + u8(1) + u8(0) + wait
    yield "tty", create + u8(1) + u8(1) + killed
    yield "refused", create + u8(1) + u8(0) + answer(failure, streams=[b"", b"", b""]) + u8(0) + answer(failure)
    yield "put", create + u8(2) + answer(say(started), say(done, bytes(12)), streams=[b""])
    yield "get", create + u8(3) + answer(say(started), say(done, bytes(12)), streams=[tree])
    yield "dial", create + u8(4) + answer(say(ok), how=1) + u8(4) + answer(say(ok))
    timings = u32(2) + text("vm created") + u64(5) + text("sealed") + u64(3)
    yield "figures", create + u8(5) + answer(say(ok, u64(1) + u64(2) + u64(3))) + answer(say(ok, timings)) + answer(say(ok, text("powered off")))
    yield "gone", create + u8(0) + u8(0xFF) + u8(137) + u8(5) + answer(say(raw, b"xx")) + u8(1) + answer(say(any_frame, b"\x01\x02xyz"))
    backend = say(4, text("kvm") + u8(1) + u32(7) + u32(8) + text("hardware"))
    yield "probe", u8(2) + u8(0) + u8(1) + backend + backend + u8(0) + u8(0) + backend
    unsupported = answer(say(error, u32(3) + u32(0) + u64(0) + text("no hardware")), streams=[b"", b"", b""])
    yield "auto", u8(5) + u8(0) + unsupported + u8(0) + answer(say(ok, text("qemu")), streams=[b"", b"", b""]) + u8(0) + answer(say(ok))
    yield "nowhere", u8(5) + (u8(0) + unsupported) * 4
    yield "unusable", u8(2) + u8(0) + u8(0) + say(4, text("x" * 40))
    yield "no process", u8(1) + u8(0xFF)


def ctl():
    spec = text("kvm") + u32(2) + u64(64 << 20) + text("quiet") + text("host") + text("/boot/vmlinux") + u32(1) + u8(1) + u64(32 << 20)
    error = u32(5) + u32(1) + u64(13) + text("open /dev/kvm: Permission denied")
    yield "spec", u8(0) + spec
    yield "error", u8(0) + error
    yield "frames", u8(4) + frame(CTL_ERROR, 0, 0, error) + frame(100, 0, 0, spec) + frame(CTL_OK)
    yield "oversized", u8(200) + frame(CTL_OK) + u32(1 << 30) + bytes(20)


def image():
    def with_super(at, value, size=8192):
        return bytes(1024 + at) + value + bytes(size - 1024 - at - len(value))

    erofs = bytearray(with_super(0, u32(0xE0F5E1E2)))
    erofs[1024 + 12] = 12
    erofs[1024 + 36] = 2
    ext4 = bytearray(with_super(56, u16(0xEF53)))
    ext4[1024 + 4:1024 + 8] = u32(8)
    ext4[1024 + 96] = 0x80
    yield "erofs", u8(0) + erofs
    yield "ext4", u8(0) + ext4
    yield "cpio", u8(0) + b"070701" + bytes(104)
    yield "gzip", u8(0) + b"\x1f\x8b\x08" + bytes(20)
    names = [b"a", b" ", b"-rf", b"new\nline", b"\xff\xfe", b"x" * 255, b"..a", b"%s"]
    yield "names", u8(1) + b"".join(u8(i) + name + b"/" for i, name in enumerate(names))


def mmio():
    start, run, notify = 9, 6, 5

    sector = 0x80 | 31

    def chain(queue, header, sizes=(0x80,), writes=(511, 0)):
        return u8(7) + u8(queue) + u8(len(sizes)) + bytes(sizes) + b"".join(map(u16, writes)) + header.ljust(16, b"\0")

    for kind in range(5):
        head = u8(kind) + u8(start)
        requests = b"".join(chain(0, u32(t) + u32(0) + u64(1)) for t in (0, 1, 4, 8, 11, 13, 99))
        requests += chain(0, u32(1) + u32(0) + u64(2), (0x80, sector)) + chain(0, u32(0) + u32(0) + u64(1 << 60)) + chain(0, u32(8), writes=(19, 0))
        yield f"requests{kind}", head + requests + u8(run) + u8(start) + chain(1, b"text") + u8(run)
        yield f"config{kind}", head + b"".join(u8(op) + u8(at) + bytes(8) for op in (8, 48, 88, 128, 168, 18) for at in (0, 4, 8, 60))
        yield f"registers{kind}", u8(kind) + b"".join(u8(10) + u16(at) for at in range(0, 0x110, 4)) + u8(notify) + u8(0)
        # By hand: reset, acknowledge, driver, features, a queue, ready, run, reset, and the same registers of a running device.
        steps = [(10, 0), (10, 1), (10, 3), (3, 1), (2, 1), (3, 0), (2, 0), (10, 11), (4, 0), (5, 8), (11, 0x1000), (13, 0x2000), (15, 0x3000), (6, 1), (10, 15)]
        by_hand = b"".join(u8(2) + u8(reg) + u16(value) for reg, value in steps)
        yield f"by_hand{kind}", u8(kind) + by_hand + u8(notify) + u8(0) + by_hand + by_hand


def platform():
    def out(index, value):
        return u8(0x80 | index % 16 << 3) + u8(0) + u8(value)

    def get(index):
        return u8(index % 16 << 3) + u8(0)

    yield "serial", b"".join(out(i, v) for i, v in [(3, 0x80), (0, 1), (1, 0), (3, 3), (4, 0x1F), (0, 65), (4, 3), (0, 66), (7, 0x5A), (2, 1)]) + b"".join(map(get, range(8)))
    yield "clock", b"".join(out(11, reg) + get(12) + out(12, 4) for reg in range(0x34))
    commands = [0x20, 0x60, 0xA7, 0xA8, 0xA9, 0xAA, 0xAB, 0xAD, 0xAE, 0xD0, 0xD1, 0xD2, 0xD3, 0xD4, 0xF0, 0xFE]
    yield "keyboard", b"".join(out(10, c) + out(8, 0xFF) + get(10) + get(8) for c in commands) + out(10, 0xD1) + out(8, 0)
    yield "ioapic", b"".join(u8(4) + u8(0x10 + i) + u32(v) for i, v in enumerate([0x30, 0, 0x10030, 0x01000000, 0x431, 0x02000000, 0x105, 0, 0x9841, 1]))
    yield "ids", u8(4) + u8(0) + u32(0x0F000000) + b"".join(u8(0x85) + u16(0) + u8(0) + u32(r) + u8(5) + u16(0x10) + u8(0) for r in range(4))
    at = [(slot * 0x1000 + reg).to_bytes(3, "little") for slot in range(5) for reg in (0, 8, 0x34, 0x70, 0x100)]
    yield "slots", b"".join(u8(6) + a + u8(0) + u8(0x86) + a + u8(0) + u32(1) for a in at)
    yield "holes", u8(0x0F) + u64(0xE0000000) + u8(3) + u8(0x8F) + u64(1 << 40) + u8(1) + u16(7) + u8(3) + u16(0xCF8) + u8(3)


def qmp():
    lines = ['{"QMP":{"version":{"qemu":{"major":7,"minor":2,"micro":1}}}}', '{"return":{},"id":0}', '{"return":{},"id":1}',
             '{"event":"SHUTDOWN","data":{"guest":true,"reason":"guest-reset"}}', '{"event":"VSERPORT_CHANGE","data":{"id":"a","open":true}}',
             '{"error":{"class":"GenericError","desc":"no\\nway"},"id":2}']
    everything = "\n".join(lines) + "\n"
    yield "session", u8(0) + everything.encode()
    yield "cut", u8(3) + everything.encode()
    for i, bad in enumerate(['[]', '{"event":5}', '{"x":1}', '{"return":1,"return":2}', '"\\ud800"', "[" * 3000]):
        yield f"bad{i}", u8(0) + bad.encode() + b"\n"
    yield "long", u8(255) + b" " * 32760


def tree():
    end = record(0, mode=0)
    yield "folder", u8(0) + TREE + end
    yield "file", u8(0x87) + record(1, b"", b"content", 0o6755) + end
    yield "error", u8(20) + record(2, mode=0o755) + record(4, b"dir/file", mode=13)
    yield "empty", u8(1) + end
    outside = [b"../x", b"/x", b"a/../../x", b".", b"a//b", b"link/x"]
    yield "outside", u8(0x7F) + record(2, mode=0o755) + record(3, b"link", b"..") + b"".join(record(1, p, b"x") for p in outside)
    deep = b"".join(record(2, b"/".join([b"d"] * i), mode=0o700) for i in range(1, 40))
    yield "deep", u8(0x7F) + record(2, mode=0o755) + deep + end
    yield "link", u8(9) + record(3, b"", b"target") + end


def vq():
    def desc(address, size, flags=0, following=0):
        return u64(address) + u32(size) + u16(flags) + u16(following)

    for indirect in (0, 3):
        avail = u16(0) + u16(3) + u16(0) + u16(2) + u16(3)
        avail += bytes(6 + 16 - len(avail))
        table = desc(0x4000, 16, 1, 1) + desc(0x5000, 64, 2) + desc(0x4100, 8) + desc(0x2000, 32, 4)
        table += bytes(4 * 100 - len(table))
        inner = desc(0x6000, 4, 1, 1) + desc(0x6100, 4, 2)
        yield f"chains{indirect}", u8(3) + u8(indirect) + u8(84) + u8(indirect) + avail + table + inner
    loop = u16(0) + u16(1) + u16(0)
    yield "loop", u8(0) + u8(0) + u8(0) + u8(0) + loop + bytes(2) + desc(0x4000, 16, 1, 0)


def vsock():
    request, response, reset, shut, rw, update, credit = 1, 2, 3, 4, 5, 6, 7

    def packet(op, source, to, payload=0, flags=0):
        return u8(0) + u8(op) + u8(payload) + u8(source) + u8(to) + u8(flags) + u8(0)

    run, buffers = u8(15), u8(6) + u8(7)
    opened = buffers + packet(request, 1, 2) + run
    yield "connect", opened + packet(rw, 1, 2, 100) + run + u8(8) + u8(0) + u16(500) + run + packet(shut, 1, 2, 0, 3) + run
    yield "read", opened + u8(8) + u8(0x40) + u16(4000) + run + u8(8) + u8(0x80) + run + packet(credit, 1, 2) + packet(update, 1, 2)
    yield "refused", buffers + packet(request, 1, 3) + packet(rw, 5, 5, 9) + packet(reset, 1, 2) + packet(9, 1, 1) + run
    dial = u8(11) + u8(4) + run
    yield "dial", buffers + dial + b"".join(packet(response, 4, 0x80 | i) for i in range(8)) + packet(rw, 4, 0x81, 50) + run + u8(12)
    yield "timeout", buffers + dial + u8(12) + run + u8(11) + u8(4) + packet(reset, 4, 0x81) + u8(13) + u8(0)
    yield "closed", opened + u8(8) + u8(0xC0) + run + packet(rw, 1, 2, 200) + run + opened + u8(8) + u8(0xA0) + run
    yield "many", buffers + b"".join(packet(request, i, 2) + run for i in range(8)) + u8(13) + u8(0)


def worker():
    started, failed, done, data, eof, credit, closed, bye = (i << 4 for i in range(8))

    def say(kind, stream=0, ident=1, body=b""):
        return u8(kind) + u8(stream << 6 | ident) + u8(len(body)) + body

    def use(action, stream, which=0, rest=b""):
        return u8(6 | action << 4 | stream << 6) + u8(which) + rest

    write, read, close, channel = range(4)
    end = u32(3) + u32(0) + u32(0) + text("")
    begun = u8(1) + say(started, body=u32(42))
    yield "exec", begun + say(data, 1, 1, b"out") + say(data, 2, 1, b"err") + use(write, 0, 0, u16(100)) + say(eof, 1) + say(eof, 2) + say(done, 0, 1, end)
    yield "failed", u8(1) + say(failed, 0, 1, u32(2) + u32(1) + text("execute x")) + u8(13)
    yield "bad end", begun + say(done, 0, 1, u32(0) + u32(0) + u32(5) + text("input/output error")) + say(bye, 0, 0)
    window = b"".join(u8(0x80 | data) + u8(1 << 6 | 1) + u8(255) for _ in range(9))
    yield "window", begun + window + use(read, 1, 0, u16(60000)) * 5 + u8(13) + window
    yield "input", begun + use(write, 0, 0, u16(65535)) * 6 + say(credit, 0, 1, u32(70000)) + use(write, 0, 0, u16(1000)) + say(closed, 0)
    yield "channel", begun + use(channel, 0, 0, u8(0x40) + u32(9)) + use(channel, 0, 0, u8(0x81) + u64(5)) + use(channel, 0, 0, u8(2)) + use(close, 3)
    yield "let go", begun + use(close, 1) + say(data, 1, 1, b"late") + use(close, 0) + use(close, 3) + u8(13)
    yield "deadline", u8(1) + u8(0x8A) + say(started, 0, 2, u32(1)) + u8(12) + u8(12)
    yield "dial", u8(1) + u8(11) + say(started, 0, 2) + say(data, 1, 2, b"pong") + use(write, 0, 1, u16(4)) + use(close, 0, 1) + u8(11) + say(failed, 0, 3, u32(111) + u32(0) + text("no"))
    yield "files", u8(1) + u8(0x1A) + u8(0x2A) + say(started, 0, 2) + say(started, 0, 3) + say(data, 1, 3, TREE) + say(eof, 1, 3) + say(done, 0, 3, bytes(16))
    yield "ends", begun + u8(0xFE) + say(bye, 0, 0) + u8(0xEE)
    yield "closed", begun + use(write, 0, 0, u16(5)) + u8(0xDE)
    yield "raw", u8(0) + u8(5) + u8(255) + frame(1, 0, 0, u32(0x314D554C) + u32(1) + u64(0) + text("6.12"))


def main():
    for make in (agent, args, boot, cmdline, core, ctl, image, mmio, platform, qmp, tree, vq, vsock, worker):
        folder = os.path.join(sys.argv[1], "seeds-" + make.__name__)
        os.makedirs(folder, exist_ok=True)
        for name, content in make():
            with open(os.path.join(folder, name.replace(" ", "_")), "wb") as out:
                out.write(content)


main()
