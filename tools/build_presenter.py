"""Builds what is bundled of the presenters: the demo sentence, their clips, the avatars trained on them, and figures.

    python tools/build_presenter.py --work FOLDER [--person presenter narrator] [--preset preview] [--minutes 9]
        [--duration 120] [--only sentence|clip] [--out FOLDER] [--json benchmarks/results/presenters_cpu_2_cores.json]

Everything comes from the CC0 head model and from espeak-ng; no person was filmed or recorded. The truth is drawn at
512x512 and kept in the folder; the avatars learn from it at 256x256. A clip that is already in the folder is used
again, and an interrupted training goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

from result_schema import machine, write_results  # noqa: E402

from dfanerf_rt.audio.speech import synthesize  # noqa: E402
from dfanerf_rt.cli.main import main as dfanerf  # noqa: E402
from dfanerf_rt.clip.format import Clip, write_wav  # noqa: E402
from dfanerf_rt.clip.presenter import PresenterConfig, generate_presenter  # noqa: E402
from dfanerf_rt.clip.presenter.people import PEOPLE  # noqa: E402
from dfanerf_rt.clip.scale import scale_clip  # noqa: E402

ASSETS = ROOT / "dfanerf_rt" / "assets"
TRUTH_PX, AVATAR_PX = 512, 256
DEMO_SENTENCE = (
    "Hello! I am the presenter. My face and my voice were made by a computer, "
    "but you may put your own words into my mouth, and I will speak them while you talk."
)


def write_sentence(path: Path) -> float:
    """Speak the demo sentence into a WAV file; returns its length in seconds."""
    # A voice of the training sentences at another pitch and pace, and words that are not among them.
    samples = synthesize(DEMO_SENTENCE, voice="en-us", rate_wpm=155, pitch=45).samples
    quiet = np.zeros(4_800, np.float32)
    sound = np.concatenate([quiet, samples, quiet])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_wav(path, 0.9 * sound / np.abs(sound).max())
    return sound.size / 16_000


def make_clips(work: Path, person: str, duration_s: float) -> tuple[Clip, Clip]:
    """The truth and its smaller copy, made or opened."""

    def show(share: float, what: str) -> None:
        print(f"\r{person}: {what} {share:4.0%}", end="", file=sys.stderr, flush=True)

    large, small = work / f"{person}{TRUTH_PX}", work / f"{person}{AVATAR_PX}"
    if (large / "clip.json").is_file():
        truth = Clip(large)
    else:
        seed = 1 + list(PEOPLE).index(person)
        truth = generate_presenter(
            large, PresenterConfig(person=person, seed=seed, size=TRUTH_PX, duration_s=duration_s), show
        )
        print(file=sys.stderr)
    return truth, Clip(small) if (small / "clip.json").is_file() else scale_clip(truth, small, AVATAR_PX)


def figures(person: str, avatar: Path, clip: Path, minutes: dict[str, float], report: Path) -> list[dict[str, Any]]:
    """Rows for the results: what ``dfanerf evaluate`` says, the file's size, and how long each part took."""
    if dfanerf(["evaluate", str(avatar), str(clip), "--json", str(report)]):
        raise SystemExit(f"{avatar}: could not be evaluated")
    found = json.loads(report.read_text(encoding="utf-8"))["rows"]
    rows = [
        {"person": person, "row": row, "measure": measure, "value": float(value)}
        for row, measures in found.items()
        for measure, value in measures.items()
        if isinstance(value, int | float)
    ]
    rows.append({"person": person, "row": "file", "measure": "mb", "value": avatar.stat().st_size / 1e6})
    rows += [
        {"person": person, "row": "build", "measure": f"{part}_min", "value": value} for part, value in minutes.items()
    ]
    return rows


def main() -> int:
    """Build in order: sentence, clips, avatars, figures; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for the clips and the trainings' checkpoints")
    parser.add_argument("--person", nargs="+", choices=tuple(PEOPLE), default=list(PEOPLE), help="whom to build")
    parser.add_argument("--preset", default="preview", help="preset of 'dfanerf train'")
    parser.add_argument("--minutes", type=float, help="time for the field's training instead of the preset's")
    parser.add_argument("--duration", type=float, default=120.0, help="length of each clip, seconds")
    parser.add_argument("--only", choices=("sentence", "clip"), help="stop after this part")
    parser.add_argument("--out", type=Path, default=ASSETS, help="where avatars and sentence go; the package's assets")
    parser.add_argument("--json", type=Path, help="write figures and build times to this file")
    options = parser.parse_args()
    sentence = options.out / "demo_sentence.wav"
    print(f"{sentence}: {write_sentence(sentence):.1f} s")
    if options.only == "sentence":
        return 0
    rows: list[dict[str, Any]] = []
    for person in options.person:
        began = time.monotonic()
        truth, clip = make_clips(options.work, person, options.duration)
        minutes = {"clip": (time.monotonic() - began) / 60}
        print(f"{truth.root}, {clip.root}: {clip.meta.n_frames} frames")
        if options.only == "clip":
            continue
        began = time.monotonic()
        avatar = options.out / f"{person}.safetensors"
        training = ["train", str(clip.root), "--out", str(options.work / avatar.name), "--preset", options.preset]
        if status := dfanerf(training + (["--minutes", str(options.minutes)] if options.minutes else [])):
            return status
        (options.work / avatar.name).replace(avatar)
        minutes["training"] = (time.monotonic() - began) / 60
        rows += figures(person, avatar, clip.root, minutes, options.work / f"{person}.json")
    if options.json and rows:
        write_results(options.json, {"kind": "presenter", "machine": machine(), "results": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
