"""Prints how many tests ran and were skipped, and why, from pytest's JUnit reports."""

from __future__ import annotations

import collections
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path


def main(paths: list[Path]) -> int:
    """Print the counts of all reports; exit status 1: one is missing."""
    missing = [path for path in paths if not path.is_file()]
    for path in missing:
        print(f"tests: no report at {path}")
    present = [path for path in paths if path not in missing]
    cases = [case for path in present for case in ElementTree.parse(path).getroot().iter("testcase")]
    skipped = collections.Counter(skip.get("message", "no reason") for case in cases for skip in case.iter("skipped"))
    failed = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    print(f"tests: {len(cases) - skipped.total()} ran, {len(failed)} failed, {skipped.total()} skipped")
    for reason, count in skipped.most_common():
        print(f"  skipped {count}: {reason}")
    for case in failed:
        print(f"  failed: {case.get('classname')}.{case.get('name')}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main([Path(name) for name in sys.argv[1:]]))
