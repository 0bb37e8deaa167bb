"""Prints how many tests ran and were skipped, and why, from pytest's JUnit report."""

from __future__ import annotations

import collections
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path


def main(path: Path) -> None:
    """Print the counts of the report at ``path``."""
    cases = list(ElementTree.parse(path).getroot().iter("testcase"))
    skipped = collections.Counter(skip.get("message", "no reason") for case in cases for skip in case.iter("skipped"))
    failed = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    print(f"tests: {len(cases) - skipped.total()} ran, {len(failed)} failed, {skipped.total()} skipped")
    for reason, count in skipped.most_common():
        print(f"  skipped {count}: {reason}")
    for case in failed:
        print(f"  failed: {case.get('classname')}.{case.get('name')}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
