"""Draws results of ablate_field.py: what each part of the field and of its training is worth.

    .venv/bin/python benchmarks/plot_field.py RESULTS.json [--out docs/field_ablation.svg]

Left, each way of conditioning; right, what is lost without each ingredient. The same results give the same bytes.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from ablate_field import CONDITIONING, INGREDIENTS, mean
from matplotlib.axes import Axes
from plot import STYLE, draw_results, save
from result_schema import REPOSITORY

SHOWN = (
    ("recorded", "psnr_db", "whole picture"),
    ("recorded", "face_psnr_db", "face"),
    ("recorded", "mouth_psnr_db", "mouth"),
    ("sound", "mouth_psnr_db", "mouth, from sound"),
)


def draw(document: dict[str, Any], target: Path) -> None:
    """Two panels into an SVG or PNG file."""
    with plt.rc_context(STYLE):
        figure, (left, right) = plt.subplots(
            1, 2, figsize=(10.0, 4.2), layout="constrained", gridspec_kw={"width_ratios": (1, 2)}
        )
        _bars(left, document, list(CONDITIONING), 0.0)
        left.set_xlabel("PSNR, dB")
        left.set_xlim(left=20.0)
        base = document["base"]
        differences = {measure[:2]: mean(document["results"], base, *measure[:2]) or 0.0 for measure in SHOWN}
        _bars(right, document, list(INGREDIENTS), differences)
        right.set_xlabel(f"dB against {base}: to the left, the ingredient helps")
        right.axvline(0.0, color="0.3", lw=0.8)
        figure.legend(*left.get_legend_handles_labels(), fontsize=7, frameon=False, ncols=4, loc="outside lower center")
        save(figure, target)


def _bars(panel: Axes, document: dict[str, Any], names: list[str], base: dict[tuple[str, str], float] | float) -> None:
    """A group of horizontal bars for each variant, less what ``base`` says of each measure."""
    measured = {row["variant"] for row in document["results"]}
    names = [name for name in names if name in measured]
    height = 0.8 / len(SHOWN)
    for number, (row, measure, label) in enumerate(SHOWN):
        zero = base[row, measure] if isinstance(base, dict) else base
        values = [mean(document["results"], name, row, measure) for name in names]
        places = [place + (number - (len(SHOWN) - 1) / 2) * height for place in range(len(names))]
        known = [(place, value - zero) for place, value in zip(places, values, strict=True) if value is not None]
        panel.barh([p for p, _ in known], [v for _, v in known], 0.9 * height, color=f"C{number}", label=label)
    panel.set_yticks(range(len(names)), names)
    panel.invert_yaxis()
    panel.grid(axis="y", visible=False)


def main(argv: list[str] | None = None) -> int:
    out = REPOSITORY / "docs" / "field_ablation.svg"
    return draw_results(
        "plot_field", __doc__, argv, "ablate_field.py", out, lambda document: document["kind"] == "field", draw
    )


if __name__ == "__main__":
    sys.exit(main())
