"""Compares two files of results of one machine; fails on a slowdown beyond the spread of both.

    .venv/bin/python benchmarks/compare.py OLD.json NEW.json [--force]

A row is slower if its median grew by more than 5 % and by more than the spread of either side, which is the distance
from the median to the 95th percentile. Rows that are on one side alone are named, and are no failure. Exit status: 0
nothing is slower; 1 something is; 2 the files cannot be compared (another machine, unless --force; another kind).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from result_schema import read_results

MIN_SLOWDOWN = 0.05
SAME_MACHINE = ("cpu", "cores", "gpu")
KEYS = {
    "render": ("backend", "device", "width", "height", "threads"),
    "ops": ("operator", "direction", "backend", "device", "threads", "samples"),
    "sync": ("part", "rate_hz", "channels", "sound_ms", "threads"),
}
TIMES = {
    "render": ("frame_ms_p50", "frame_ms_p95"),
    "ops": ("ms_p50", "ms_p95"),
    "sync": ("ms_p50", "ms_p95"),
}


def differing_machine(old: dict[str, Any], new: dict[str, Any]) -> str | None:
    """What tells the machines apart, or None."""
    for key in SAME_MACHINE:
        before, after = old["machine"][key], new["machine"][key]
        if before != after:
            return f"machine.{key} is {before!r} in the old file and {after!r} in the new one"
    return None


def compare(old: dict[str, Any], new: dict[str, Any]) -> tuple[list[str], int]:
    """A table, and how many rows are slower.

    Args:
        old, new: documents of one kind, checked.
    """
    kind = old["kind"]
    median, high = TIMES[kind]

    def by_key(document: dict[str, Any]) -> dict[tuple[str, ...], dict[str, Any]]:
        return {tuple(str(row.get(key)) for key in KEYS[kind]): row for row in document["results"]}

    before, after = by_key(old), by_key(new)
    lines, n_slower = [], 0
    for key, row in after.items():
        name = " ".join(part for part in key if part != "None")
        if key not in before:
            lines.append(f"{name}: in the new file alone")
            continue
        was, now = before[key], row
        change = now[median] - was[median]
        spread = max(was[high] - was[median], now[high] - now[median])
        limit = max(MIN_SLOWDOWN * was[median], spread)
        verdict = "slower" if change > limit else "faster" if -change > limit else "same"
        n_slower += verdict == "slower"
        share = change / was[median] if was[median] else 0.0
        lines.append(f"{name}: {was[median]:.3f} -> {now[median]:.3f} ms ({share:+.1%}, spread {spread:.3f}) {verdict}")
    lines += [f"{' '.join(p for p in key if p != 'None')}: in the old file alone" for key in before if key not in after]
    return lines, n_slower


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--force", action="store_true", help="compare results of different machines all the same")
    arguments = parser.parse_args(argv)
    try:
        old, new = read_results(arguments.old), read_results(arguments.new)
    except ValueError as fault:
        print(f"compare: {fault}", file=sys.stderr)
        return 2
    if old["kind"] != new["kind"]:
        print(f"compare: the old file holds {old['kind']} results, the new one {new['kind']}", file=sys.stderr)
        return 2
    if old["kind"] not in TIMES:
        print(f"compare: {old['kind']} results hold no times to compare", file=sys.stderr)
        return 2
    if old.get("avatar") != new.get("avatar"):
        print(f"compare: avatar {old.get('avatar')!r} against {new.get('avatar')!r}", file=sys.stderr)
        return 2
    other = differing_machine(old, new)
    if other is not None and not arguments.force:
        print(f"compare: {other}; times of different machines say nothing (--force)", file=sys.stderr)
        return 2
    lines, n_slower = compare(old, new)
    for document, name in ((old, "old"), (new, "new")):
        found = document["machine"]
        print(f"{name}: commit {found['commit'] or 'unknown'}, torch {found['torch']}, load {found['load_1min']}")
    print(*lines, sep="\n")
    print(f"{n_slower} rows are slower beyond the spread")
    return 1 if n_slower else 0


if __name__ == "__main__":
    sys.exit(main())
