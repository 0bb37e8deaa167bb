"""Draws results of bench_render.py: frames a second by size, and cost by pixels, samples and threads.

    .venv/bin/python benchmarks/plot.py [RESULTS.json ...] [--out docs/render_speed.svg]

Without files, all render results in benchmarks/results. The same results give the same bytes. A grey line is exact
proportion to the leftmost point: what lies along it is linear.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from result_schema import REPOSITORY, read_results

RESULTS = Path(__file__).with_name("results")
MARKERS = "os^Dv<>P*X"
STYLE = {
    "svg.hashsalt": "dfanerf_rt",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def series(documents: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Rows by a label for people: backend, threads, avatar, and the machine where there are several."""
    names = {document["machine"]["gpu"] or document["machine"]["cpu"] for document in documents}
    avatars = {document.get("avatar") for document in documents}
    found: dict[str, list[dict[str, Any]]] = {}
    for document in documents:
        for row in document["results"]:
            label = row["backend"]
            if row["threads"]:
                label += f", {row['threads']} thread{'s' if row['threads'] > 1 else ''}"
            if len(avatars) > 1:
                label += f", {document.get('avatar')}"
            if len(names) > 1:
                label += f", {document['machine']['gpu'] or document['machine']['cpu']}"
            found.setdefault(label, []).append(row)
    return {label: sorted(rows, key=lambda row: row["width"]) for label, rows in sorted(found.items())}


def draw(documents: list[dict[str, Any]], target: Path) -> None:
    """Four panels into an SVG or PNG file."""
    rows = series(documents)
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(2, 2, figsize=(9.0, 6.4), layout="constrained")
        speed, pixels, samples, threads = panels.flat
        for number, (label, found) in enumerate(rows.items()):
            look = {"marker": MARKERS[number % len(MARKERS)], "color": f"C{number % 10}", "label": label, "ms": 4}
            speed.plot([row["width"] for row in found], [row["fps"] for row in found], **look)
            _line(pixels, [(row["width"] * row["height"] / 1e6, row["frame_ms_p50"]) for row in found], look)
            counted = [row for row in found if row["samples_per_frame"]]
            _line(samples, [(row["samples_per_frame"] / 1e6, row["frame_ms_p50"]) for row in counted], look)
        _threads(threads, documents)
        speed.axhline(25.0, color="0.6", linestyle=":", linewidth=1.0)
        titles = (
            (speed, "width, pixels", "frames a second (dotted: 25)"),
            (pixels, "pixels, millions", "frame, ms"),
            (samples, "samples that the network evaluated, millions", "frame, ms"),
            (threads, "threads", "frames a second, of one thread's"),
        )
        for panel, x, y in titles:
            panel.set_xlabel(x)
            panel.set_ylabel(y)
        for panel in (speed, pixels, samples):
            panel.set_xscale("log", base=2 if panel is speed else 10)
            panel.set_yscale("log")
            panel.yaxis.set_major_formatter(_plain)
            panel.xaxis.set_major_formatter(_plain)
        widths = sorted({row["width"] for found in rows.values() for row in found})
        speed.set_xticks(widths, [str(width) for width in widths])
        speed.minorticks_off()
        speed.legend(fontsize=7, frameon=False)
        save(figure, target)


def save(figure: Figure, target: Path) -> None:
    """Write a figure to an SVG or PNG file, and close it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    # Neither a date nor the program's version: the same results give the same file.
    empty: dict[str, Any] = {"Date": None} if target.suffix == ".svg" else {"Software": None}
    figure.savefig(target, dpi=120, metadata=empty)
    plt.close(figure)


def draw_results(
    name: str,
    description: str | None,
    argv: list[str] | None,
    made_by: str,
    out: Path,
    holds: Callable[[dict[str, Any]], bool],
    draw: Callable[[dict[str, Any], Path], None],
) -> int:
    """What a script does that draws the results of one other script; returns its exit status.

    Args:
        name: the script's.
        description: its docstring.
        argv: of the command line.
        made_by: the other script.
        out: where the picture goes if nothing is said.
        holds: whether a document has that script's results.
        draw: into a file.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help=f"what {made_by} --json wrote")
    parser.add_argument("--out", type=Path, default=out, help=".svg or .png")
    arguments = parser.parse_args(argv)
    if arguments.out.suffix not in (".svg", ".png"):
        parser.error(f"--out is {arguments.out}, expected a name that ends in .svg or .png")
    try:
        document = read_results(arguments.results)
        if not holds(document):
            raise ValueError(f"{arguments.results} holds no results of {made_by}")
    except ValueError as fault:
        print(f"{name}: {fault}", file=sys.stderr)
        return 2
    draw(document, arguments.out)
    print(arguments.out)
    return 0


def _plain(value: float, _: object) -> str:
    return f"{value:g}"


def _line(panel: Axes, points: list[tuple[float, float]], look: dict[str, Any]) -> None:
    if not points:
        return
    points = sorted(points)
    x, y = zip(*points, strict=True)
    panel.plot(x, y, **look)
    if len(points) > 1:
        panel.plot(x, [y[0] * value / x[0] for value in x], color="0.7", linewidth=0.8, zorder=0)


def _threads(panel: Axes, documents: list[dict[str, Any]]) -> None:
    """Speed by threads, for each size that was timed with one thread and with more."""
    number = most = 0
    for document in documents:
        for width in sorted({row["width"] for row in document["results"]}):
            same = [r for r in document["results"] if r["width"] == width and r["backend"] == "cpu" and r["threads"]]
            points = sorted((row["threads"], row["fps"]) for row in same)
            if len(points) < 2 or points[0][0] != 1:
                continue
            x = [count for count, _ in points]
            panel.plot(x, [fps / points[0][1] for _, fps in points], marker=MARKERS[number % 10], label=f"{width} px")
            number, most = number + 1, max(most, x[-1])
    if number:
        panel.plot([1, most], [1, most], color="0.7", linewidth=0.8, zorder=0)
        panel.set_xticks(range(1, most + 1))
        panel.legend(fontsize=7, frameon=False)
    else:
        panel.text(0.5, 0.5, "timed with one number of threads alone", ha="center", transform=panel.transAxes)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="*", help="default: every file in benchmarks/results")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "docs" / "render_speed.svg", help=".svg or .png")
    arguments = parser.parse_args(argv)
    if arguments.out.suffix not in (".svg", ".png"):
        parser.error(f"--out is {arguments.out}, expected a name that ends in .svg or .png")
    try:
        documents = [read_results(path) for path in arguments.results or sorted(RESULTS.glob("*.json"))]
    except ValueError as fault:
        print(f"plot: {fault}", file=sys.stderr)
        return 2
    documents = [document for document in documents if document["kind"] == "render"]
    if not documents:
        print("plot: no render results among the files; make some with bench_render.py --json", file=sys.stderr)
        return 2
    draw(documents, arguments.out)
    print(arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
