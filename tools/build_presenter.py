"""Builds what is bundled of the presenter: the demo sentence, the clip, and the avatar trained on it.

    python tools/build_presenter.py --work FOLDER [--preset preview] [--size 256] [--duration 60] [--only sentence|clip]

Everything comes from the CC0 head model and from espeak-ng; no person was filmed or recorded. A clip that is already
in the folder is used again, and an interrupted training goes on where it stopped.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from dfanerf_rt.audio.speech import synthesize
from dfanerf_rt.cli.main import main as dfanerf
from dfanerf_rt.clip.format import Clip, write_wav
from dfanerf_rt.clip.presenter import PresenterConfig, generate_presenter

ASSETS = Path(__file__).resolve().parent.parent / "dfanerf_rt" / "assets"
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


def make_clip(folder: Path, config: PresenterConfig) -> Clip:
    """Make the clip, or open the one that is there."""
    if (folder / "clip.json").is_file():
        return Clip(folder)

    def show(share: float, what: str) -> None:
        print(f"\r{what} {share:4.0%}", end="", file=sys.stderr, flush=True)

    clip = generate_presenter(folder, config, show)
    print(file=sys.stderr)
    return clip


def main() -> int:
    """Build in order: sentence, clip, avatar; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for the clip and the training's checkpoints")
    parser.add_argument("--preset", default="preview", help="preset of 'dfanerf train'")
    parser.add_argument("--size", type=int, default=256, help="width and height of the clip, pixels")
    parser.add_argument("--duration", type=float, default=60.0, help="length of the clip, seconds")
    parser.add_argument("--only", choices=("sentence", "clip"), help="stop after this part")
    options = parser.parse_args()
    sentence = ASSETS / "demo_sentence.wav"
    print(f"{sentence}: {write_sentence(sentence):.1f} s")
    if options.only == "sentence":
        return 0
    folder = options.work / f"presenter{options.size}"
    clip = make_clip(folder, PresenterConfig(size=options.size, duration_s=options.duration))
    print(f"{folder}: {clip.meta.n_frames} frames")
    if options.only == "clip":
        return 0
    avatar = ASSETS / "presenter.safetensors"
    return dfanerf(["train", str(folder), "--out", str(avatar), "--preset", options.preset])


if __name__ == "__main__":
    sys.exit(main())
