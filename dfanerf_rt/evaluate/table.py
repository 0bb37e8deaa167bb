"""The report as a table to read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dfanerf_rt.evaluate.report import MEAN_FRAME

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = (
    ("psnr_db", "PSNR dB", 2),
    ("face_psnr_db", "face dB", 2),
    ("mouth_psnr_db", "mouth dB", 2),
    ("ssim", "SSIM", 4),
    ("face_ssim", "face SSIM", 4),
    ("lmd_px", "LMD px", 2),
    ("mouth_opening_corr", "opening corr.", 2),
    ("sync_confidence", "sync conf.", 2),
    ("blinks_per_s", "blinks/s", 2),
    ("gradient_energy_ratio", "sharpness", 2),
    ("landmarks_found", "face found", 2),
)
"""Key in the report, heading, digits."""


def build_table(report: dict[str, Any]) -> Table:
    """A row for each way of driving with the difference to the mean frame below it, then the baseline and the truth."""
    from rich.table import Table

    title = f"{report['frames']} held-out frames at {report['width']}x{report['height']}"
    table = Table(title=title, caption="LMD at 512 px width; nothing pasted back; +/-: against the mean training frame")
    table.add_column("row")
    for _, heading, _ in COLUMNS:
        table.add_column(heading, justify="right")
    baseline = report["rows"][MEAN_FRAME]
    for name, row in report["rows"].items():
        table.add_row(name, *(_figure(row.get(key), digits) for key, _, digits in COLUMNS))
        if name != MEAN_FRAME:
            gains = (_gain(row.get(key), baseline.get(key), digits) for key, _, digits in COLUMNS)
            table.add_row("  +/-", *gains, style="dim", end_section=True)
    truth = {
        "blinks_per_s": baseline["blinks_per_s_truth"],
        "landmarks_found": report["truth_landmarks_found"],
        "sync_confidence": baseline.get("sync_confidence_truth"),
    }
    table.add_row("truth", *(_figure(truth[key], digits) if key in truth else "" for key, _, digits in COLUMNS))
    return table


def _figure(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _gain(value: float | None, baseline: float | None, digits: int) -> str:
    return "" if value is None or baseline is None else f"{value - baseline:+.{digits}f}"
