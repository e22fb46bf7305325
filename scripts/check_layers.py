#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the form that no compiler sees: which layer includes which (doc/architecture.md says why), where
third-party headers appear, licence lines, file names and lengths. Prints what is wrong and fails."""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent

# Each may include itself and what stands before it.
ENGINE = ["base", "crypto", "codec", "format", "cache", "repo", "staging", "transfer", "maintain"]

# What each part may include besides its own; `backends` and the engine's layers have more to say below.
PARTS = {
    "engine": [],
    "backends": ["engine"],
    "fs": ["engine"],
    "tools": ["engine", "backends", "fs"],
    "tests": ["engine", "backends", "fs", "tools"],
}

# Third-party headers and the only folders that may include them. Tests may include any.
THIRD_PARTY = {
    r"fuse": ["fs/fuse"],
    r"rocksdb/": ["engine/cache", "engine/staging"],
    r"openssl/": ["engine/crypto"],
    r"sodium": ["engine/crypto"],
    r"blake3": ["engine/crypto"],
    r"zstd": ["engine/codec"],
    r"flatbuffers/": ["engine/format"],
    r"\w+_generated\.h": ["engine/format"],
    r"spdlog/": ["engine/base"],
    r"boost/": ["tools"],
    r"nlohmann/": ["tools"],
    r"libssh2": ["backends/sftp"],
    r"curl/": ["backends/http"],
    r"expat": ["backends/s3"],
}

# Under backends, but no store: the stores named may include it.
SHARED_BY_STORES = {"http": ["s3", "rest"]}

MAX_LINES = 500
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^">]+)[">]')

errors = []


def complain(where, what):
    errors.append(f"{where}: {what}")


def files():
    """Files under version control, and new ones that will be."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [pathlib.PurePosixPath(line) for line in sorted(set(listed.splitlines()))
            if (ROOT / line).is_file()]


def check_arrow(path, where, target):
    """An include of our own: `path` may include `target`, by the names of their folders."""
    own, other = path.parts[0], target.parts[0]
    if own not in PARTS:
        return
    if other != own and other not in PARTS[own]:
        complain(where, f"{own} may not include {other}/")
    if own == other == "engine":
        mine, theirs = path.parts[1], target.parts[1]
        for layer in (mine, theirs):
            if layer not in ENGINE:
                complain(where, f"engine/{layer} has no place in the order of layers")
                return
        if ENGINE.index(theirs) > ENGINE.index(mine):
            complain(where, f"engine/{mine} may not include engine/{theirs}, which stands above it")
    if own == other == "backends" and path.parts[1] != target.parts[1]:
        if path.parts[1] not in SHARED_BY_STORES.get(target.parts[1], []):
            complain(where, "a store may not know another")
    if own == "backends" and other == "engine" and target.parts[1] == "repo":
        if target.name != "backend.h":
            complain(where, "a store sees of the repository only engine/repo/backend.h")
    if own == other == "fs" and path.parts[1] != "fuse" and target.parts[1] == "fuse":
        complain(where, "the filesystem may not know its FUSE layer")


def check_include(path, where, bracket, name):
    target = pathlib.PurePosixPath(name)
    folder = str(path.parent)
    for pattern, homes in THIRD_PARTY.items():
        if not re.match(pattern, name):
            continue
        at_home = any(folder == home or folder.startswith(home + "/") for home in homes)
        if not at_home and path.parts[0] != "tests":
            complain(where, f"<{name}> belongs into {' or '.join(homes)} alone")
        return
    if bracket == "<":
        return
    if not (ROOT / name).is_file():
        complain(where, f'"{name}" is not a path from the root')
        return
    check_arrow(path, where, target)


def check_source(path, lines):
    if len(lines) > MAX_LINES:
        complain(path, f"{len(lines)} lines, {MAX_LINES} are the most")
    if path.suffix == ".h" and "#pragma once" not in lines[:10]:
        complain(path, "no #pragma once")
    for number, line in enumerate(lines, 1):
        match = INCLUDE.match(line)
        if match:
            check_include(path, f"{path}:{number}", match.group(1), match.group(2))


def wants_licence(path, lines):
    if path.suffix in (".cc", ".h", ".py"):
        return True
    return path.parts[0] in ("scripts", ".ci") and lines and lines[0].startswith("#!")


def main():
    checked = 0
    for path in files():
        if re.match(r"utils?([_.]|$)", path.name) or path.name.startswith("helpers."):
            complain(path, "the name says nothing: what does it hold?")
        if path.parts[0] not in (*PARTS, "scripts", ".ci"):
            continue
        try:
            lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        if wants_licence(path, lines):
            checked += 1
            if not any("SPDX-License-Identifier: Apache-2.0" in line for line in lines[:2]):
                complain(path, "no SPDX line at its beginning")
        if path.suffix in (".cc", ".h"):
            check_source(path, lines)
    if checked == 0:
        complain("scripts/check_layers.py", "found no files: is this a git checkout?")
    for error in errors:
        print(error, file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
