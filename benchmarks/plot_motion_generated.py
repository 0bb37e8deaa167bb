"""Draws generated beside true motion of people whom the models have not met, and latents with and without sound.

    .venv/bin/python benchmarks/plot_motion_generated.py --work FOLDER --out FOLDER [--person N] [--clip CLIP ...]

FOLDER of --work is that of bench_motion_hour.py. Written: generated.png, what a person did beside what is generated for
the same voice, for two seeds, and for no voice; distributions.png, spectra and velocities of the same; latents.svg,
after the paper's fig. 6, the latent paths that E_ah foretells for several people with and without their sound. --clip
draws prepared clips of real people in the same way, as generated_NAME.png: for looking at, not for the repository.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from motion_people import CLIP_S, Stranger, adapted, generated, stranger_of_clip, strangers
from plot_motion import draw_distributions, draw_latents, draw_side_by_side, shown

from dfanerf_rt.errors import ClipError, DfanerfError
from dfanerf_rt.motion.models import MotionModels
from dfanerf_rt.threads import one_thread
from dfanerf_rt.train.cross_modal import Paths

LATENTS = 60
"""Points of each person."""


def draw_person(
    person: Stranger, models: MotionModels, out: Path, name: str, clip_s: float, start_s: float, seconds: float
) -> None:
    """Trajectories, spectra and velocities of one person."""
    personal, _ = adapted(person, models, clip_s)
    stress = person.stress.numpy()
    n_frames = min(len(person.track), round((start_s + max(seconds, 150.0)) * person.track.fps))
    motions = [shown("what the person did", person.track.cut(slice(0, n_frames)), stress[:n_frames])]
    for title, code, seed in (
        ("generated, seed 0", person.audio_code, 0),
        ("generated, seed 1", person.audio_code, 1),
        ("generated, no sound", None, 0),
    ):
        heard = stress[:n_frames] if code is not None else None
        motions.append(shown(title, generated(personal, code, n_frames, seed), heard))
    draw_side_by_side(motions, out / f"generated{name}.png", start_s, seconds)
    draw_distributions(motions, out / f"distributions{name}.png")


@torch.no_grad()
def foretold_latents(people: list[Stranger], models: MotionModels) -> dict[str, dict[str, np.ndarray]]:
    """Of each person (N, L): means of blocks' latent paths as E_ah foretells them, with and without the sound."""
    found: dict[str, dict[str, np.ndarray]] = {"with sound": {}, "without sound": {}}
    for person in people:
        pose = person.clip().track.head_pose
        normal = (pose - pose.mean(dim=0)) / pose.std(dim=0)
        paths = Paths([(normal, person.audio_code[: len(pose)])], models.head, models.head_encoder)
        example = paths.batch(LATENTS, torch.Generator().manual_seed(0))
        for title, known in (("with sound", 1.0), ("without sound", 0.0)):
            heard = example.sound_known * known
            path = models.head_encoder.guided(example.past, example.sound, heard, example.pose, example.pose_known)
            found[title][person.name] = path.mean.mean(dim=-1).numpy()
    return found


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of what the people do and say")
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures")
    parser.add_argument("--people", type=int, default=4, help="in the folder")
    parser.add_argument("--minutes", type=float, default=60.0, help="of each")
    parser.add_argument("--person", type=int, default=0, help="whose trajectories are drawn")
    parser.add_argument("--clip", type=Path, nargs="+", default=[], help="prepared clips of real people")
    parser.add_argument("--start", type=float, default=30.0, help="of the trajectories, seconds")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of the trajectories")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    try:
        models = MotionModels.bundled()
        people = strangers(arguments.work, arguments.people, arguments.minutes)
        if not 0 <= arguments.person < len(people):
            raise ClipError(f"{arguments.work}: holds people 0 to {len(people) - 1}, not {arguments.person}")
        person = people[arguments.person]
        with one_thread():
            clip_s = min(CLIP_S, person.track.duration_s)
            draw_person(person, models, arguments.out, "", clip_s, arguments.start, arguments.seconds)
            draw_latents(foretold_latents(people, models), arguments.out / "latents.svg")
            for folder in arguments.clip:
                real = stranger_of_clip(folder)
                length_s = real.track.duration_s
                draw_person(real, models, arguments.out, f"_{folder.name}", length_s, 0.0, length_s)
    except DfanerfError as fault:
        print(f"plot_motion_generated: {fault}", file=sys.stderr)
        return 2
    print(arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
