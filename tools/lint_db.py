#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""lint_db.py BUILD OUT: OUT/compile_commands.json has one entry for each C source of src, cli, guest and bench. OUT/NAME.args, the
same for gcc to read, and a line in OUT/sources; NAME is the path with dashes for slashes.

Taken from the build's own database, without the options that clang 14 lacks and without outputs. A source that the database
does not have (the build makes it with another compiler) gets the options of its nearest neighbour in the same room; a room
that this build leaves out is left out here too.
"""
import json
import os
import shlex
import sys

ROOMS = ("src", "cli", "guest", "bench")
NOT_CLANG = ("-ftrivial-auto-var-init=",)
WITH_VALUE = ("-MQ", "-MF", "-o")
DROPPED = ("-MD", "-c", "-fdiagnostics-color=always")


def options(entry):
    """What the entry's command says about the language: no compiler, no source, no output."""
    words = entry.get("arguments") or shlex.split(entry["command"])
    source = entry["file"]
    while words and not words[0].startswith("-"):
        words = words[1:]
    kept = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word in WITH_VALUE:
            skip = True
        elif word not in DROPPED and word != source and not word.startswith(NOT_CLANG):
            kept.append(word)
    return kept


def sources(root):
    for room in ROOMS:
        for folder, _, names in os.walk(os.path.join(root, room)):
            for name in names:
                if name.endswith(".c"):
                    yield os.path.join(folder, name)


def main():
    build, out = sys.argv[1:]
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as f:
        entries = json.load(f)
    known = {}
    for entry in entries:
        path = os.path.normpath(os.path.join(entry["directory"], entry["file"]))
        if path.endswith(".c"):
            known.setdefault(path, entry)

    database = []
    for path in sorted(sources(root)):
        room = os.path.join(root, os.path.relpath(path, root).split(os.sep)[0], "")
        others = [other for other in known if other.startswith(room)]
        if not others:
            continue
        near = known.get(path) or known[max(others, key=lambda other: len(os.path.commonprefix([other, path])))]
        database.append({"directory": near["directory"], "file": path, "arguments": ["cc", *options(near), "-c", path]})
    if not database:
        sys.exit("lint_db.py: no sources")
    with open(os.path.join(out, "compile_commands.json"), "w", encoding="utf-8") as f:
        json.dump(database, f, indent=1)
    with open(os.path.join(out, "sources"), "w", encoding="utf-8") as f:
        for entry in database:
            name = os.path.relpath(entry["file"], root)
            print(name, file=f)
            with open(os.path.join(out, name.replace("/", "-") + ".args"), "w", encoding="utf-8") as args:
                args.write(shlex.join(entry["arguments"][1:]))


main()
