"""Draws results of ablate_sync.py: what each part of the training is worth, and what a look-ahead is.

    .venv/bin/python benchmarks/plot_lips.py RESULTS.json [--out docs/lips_ablation.svg]

The same results give the same bytes.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from ablate_sync import ALONE_MS, BOTH, COLUMNS, RAW, VARIANTS, alone
from matplotlib.axes import Axes
from plot import MARKERS, STYLE, draw_results, save
from result_schema import REPOSITORY

from dfanerf_rt.sync.model import LIVE_LOOKAHEAD_MS


def draw(document: dict[str, Any], target: Path) -> None:
    """Two panels into an SVG or PNG file."""
    with plt.rc_context(STYLE):
        figure, (parts, ahead) = plt.subplots(1, 2, figsize=(10.0, 3.8), layout="constrained")
        _parts(parts, document)
        _ahead(ahead, document)
        for panel in (parts, ahead):
            panel.set_ylim(0.0, 1.0)
        figure.legend(
            *ahead.get_legend_handles_labels(), fontsize=7, frameon=False, ncols=5, loc="outside lower center"
        )
        save(figure, target)


def _values(document: dict[str, Any], model: str, column: tuple[str, str, str, str]) -> dict[float, list[float]]:
    """Overall values by look-ahead, one for each seed."""
    part, measure, readout, _ = column
    wanted = {"part": part, "model": model, "subject": "all", "measure": measure, "readout": readout}
    found: dict[float, list[float]] = {}
    for row in document["results"]:
        if row.items() >= wanted.items():
            found.setdefault(row["lookahead_ms"], []).append(row["value"])
    return dict(sorted(found.items()))


def _parts(panel: Axes, document: dict[str, Any]) -> None:
    """A group of bars for each way of training."""
    models = (RAW, *VARIANTS)
    width = 0.8 / len(COLUMNS)
    for number, column in enumerate(COLUMNS):
        for place, model in enumerate(models):
            seeds = _values(document, model, column).get(LIVE_LOOKAHEAD_MS)
            if seeds:
                at = place + (number - (len(COLUMNS) - 1) / 2) * width
                panel.bar(at, np.mean(seeds), 0.9 * width, color=f"C{number}")
                panel.plot([at] * len(seeds), seeds, ".", color="0.2", ms=2)
    panel.set_xticks(range(len(models)), [model.replace(" ", "\n") for model in models])
    panel.set_xlabel(f"trained with, {LIVE_LOOKAHEAD_MS:g} ms ahead")
    panel.grid(axis="x", visible=False)


def _ahead(panel: Axes, document: dict[str, Any]) -> None:
    """A line for each measure; a hollow marker where an encoder was trained for one look-ahead alone."""
    for number, column in enumerate(COLUMNS):
        found = _values(document, BOTH, column)
        look: dict[str, Any] = {"marker": MARKERS[number], "color": f"C{number}", "ms": 4}
        panel.plot(list(found), [float(np.mean(seeds)) for seeds in found.values()], label=column[3], **look)
        for lookahead_ms in ALONE_MS:
            seeds = _values(document, alone(lookahead_ms), column).get(lookahead_ms)
            if seeds:
                panel.plot(lookahead_ms, np.mean(seeds), **{**look, "ms": 8}, fillstyle="none")
    panel.set_xlabel("ms ahead; hollow: trained for it alone")


def main(argv: list[str] | None = None) -> int:
    out = REPOSITORY / "docs" / "lips_ablation.svg"
    return draw_results(
        "plot_lips",
        __doc__,
        argv,
        "ablate_sync.py",
        out,
        lambda document: any("readout" in row for row in document["results"]),
        draw,
    )


if __name__ == "__main__":
    sys.exit(main())
