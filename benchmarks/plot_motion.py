"""Draws motion for people to judge: trajectories side by side, spectra, velocities, latents of several persons.

    .venv/bin/python benchmarks/plot_motion.py --out FOLDER [--track FILE] [--clip CLIP ...]
        [--corpus FOLDER --people 0 1 ...] [--start S] [--seconds S]

The command draws what was recorded or made: 3DMM parameter files, prepared clips, people of a motion corpus. The first
is what the others are compared with. The functions take arrays, for motion that a model generates. Pictures of real
people's motion are for looking at, not for the repository.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from plot import MARKERS, STYLE, save

from dfanerf_rt.audio.stress import find_stresses, stress_track
from dfanerf_rt.clip.format import Clip
from dfanerf_rt.clip.motion import motion_of_clip
from dfanerf_rt.clip.motion_corpus import MotionCorpus
from dfanerf_rt.errors import ClipError, DfanerfError
from dfanerf_rt.evaluate.blinks import eye_openness
from dfanerf_rt.evaluate.motion import power_spectrum
from dfanerf_rt.motion.track import MotionTrack, load_track

CHANNELS = ("pitch, deg", "yaw, deg", "roll, deg", "x, mm", "y, mm", "z, mm")
SCALE = np.array([180.0 / np.pi] * 3 + [1000.0] * 3)


@dataclass(frozen=True)
class Shown:
    """One motion in a picture."""

    name: str
    head_pose: np.ndarray
    """(T, 6) radians and metres."""
    openness: np.ndarray | None = None
    """(T,) of the eyes, 1 open, 0 closed."""
    stress: np.ndarray | None = None
    """(T,) of the voice that was heard."""
    fps: float = 25.0

    @property
    def channels(self) -> np.ndarray:
        """(T, 6) degrees and millimetres, from the median pose."""
        pose = np.asarray(self.head_pose, np.float64) * SCALE
        return pose - np.median(pose, axis=0)


def shown(name: str, track: MotionTrack, stress: np.ndarray | None = None) -> Shown:
    """A track as it is drawn."""
    openness = None if track.eye_code is None else eye_openness(track.eye_code)
    return Shown(name, track.head_pose.numpy(), openness, stress, track.fps)


def draw_side_by_side(motions: Sequence[Shown], target: Path, start_s: float = 0.0, seconds: float = 30.0) -> None:
    """A column for each motion, on common axes: for motion that is sampled, which no frame of the truth belongs to.

    Rows: six channels of the pose, eyes. Shaded: stress of the voice.
    """
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(
            7, len(motions), figsize=(max(5.0 * len(motions), 6.0), 9.5), sharex="col", sharey="row",
            squeeze=False, layout="constrained",
        )  # fmt: skip
        for column, motion in zip(panels.T, motions, strict=True):
            frames = slice(round(start_s * motion.fps), round((start_s + seconds) * motion.fps))
            values = motion.channels[frames]
            times = start_s + np.arange(len(values)) / motion.fps
            for panel, trace in zip(column, values.T, strict=False):
                panel.plot(times, trace, color="C0", linewidth=0.9)
            if motion.openness is not None:
                column[6].plot(times, motion.openness[frames], color="C3", linewidth=0.9)
            if motion.stress is not None:
                for panel in (column[0], column[6]):
                    _shade(panel, times, motion.stress[frames])
            column[0].set_title(motion.name)
            column[6].set_xlabel("s")
        for panel, label in zip(panels[:, 0], (*CHANNELS, "eyes open"), strict=True):
            panel.set_ylabel(label)
        save(figure, target)


def draw_overlaid(
    truth: Shown, others: Sequence[Shown], target: Path, start_s: float = 0.0, seconds: float = 30.0
) -> None:
    """One panel a channel with truth and others over each other: for reconstructions, frame by frame.

    All are drawn from the truth's median pose, so that an offset is seen.
    """
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(7, 1, figsize=(11.0, 10.0), sharex=True, layout="constrained")
        origin = np.median(truth.head_pose * SCALE, axis=0)
        for number, motion in enumerate([truth, *others]):
            frames = slice(round(start_s * motion.fps), round((start_s + seconds) * motion.fps))
            values = (motion.head_pose * SCALE - origin)[frames]
            times = start_s + np.arange(len(values)) / motion.fps
            look: dict[str, Any] = {"color": "0.55", "linewidth": 2.2} if number == 0 else {"linewidth": 0.9}
            for panel, trace in zip(panels, values.T, strict=False):
                panel.plot(times, trace, label=motion.name, **look)
            if motion.openness is not None:
                panels[6].plot(times, motion.openness[frames], **look)
        for panel, label in zip(panels, (*CHANNELS, "eyes open"), strict=True):
            panel.set_ylabel(label)
        panels[6].set_xlabel("s")
        figure.legend(*panels[0].get_legend_handles_labels(), frameon=False, ncols=6, loc="outside lower center")
        save(figure, target)


def draw_distributions(motions: Sequence[Shown], target: Path) -> None:
    """Spectrum and histogram of velocity of each channel; the first motion, wide and grey, is the truth."""
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(4, 3, figsize=(11.0, 10.0), layout="constrained")
        spectra, histograms = panels[[0, 2]].ravel(), panels[[1, 3]].ravel()
        spread = 4.0 * np.std(np.diff(motions[0].channels, axis=0) * motions[0].fps, axis=0)
        for number, motion in enumerate(motions):
            look: dict[str, Any] = {"color": "0.55", "linewidth": 2.2} if number == 0 else {"linewidth": 1.0}
            frequency, density = power_spectrum(motion.channels, motion.fps)
            velocity = np.diff(motion.channels, axis=0) * motion.fps
            for channel in range(6):
                spectra[channel].loglog(frequency[1:], density[1:, channel], label=motion.name, **look)
                bins = np.linspace(-spread[channel], spread[channel], 61)
                count, _ = np.histogram(velocity[:, channel], bins)
                share = count / (len(velocity) * (bins[1] - bins[0]))
                histograms[channel].semilogy((bins[1:] + bins[:-1]) / 2, np.where(share > 0, share, np.nan), **look)
        for channel, label in enumerate(CHANNELS):
            name, unit = label.split(", ")
            spectra[channel].set_title(name)
            spectra[channel].set_xlabel("Hz")
            spectra[channel].set_ylabel(f"{unit}²/Hz")
            histograms[channel].set_xlabel(f"velocity, {unit}/s")
        figure.legend(*spectra[0].get_legend_handles_labels(), frameon=False, ncols=6, loc="outside lower center")
        save(figure, target)


def draw_latents(panels_of: Mapping[str, Mapping[str, np.ndarray]], target: Path) -> None:
    """Latents of several people in two dimensions, as the paper's fig. 6.

    Args:
        panels_of: for each panel ("with sound", "without sound") the latents (N, D) of each person. D may be 2;
            otherwise each panel shows the first two principal components of its own latents, since what sound adds
            may lie in other directions than what is there without it.
    """
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            1, len(panels_of), figsize=(4.6 * len(panels_of), 4.8), squeeze=False, layout="constrained"
        )
        for panel, (title, people) in zip(axes[0], panels_of.items(), strict=True):
            points, explained = principal_plane(np.concatenate(list(people.values())))
            ends = np.cumsum([len(latents) for latents in people.values()])[:-1]
            for number, (name, part) in enumerate(zip(people, np.split(points, ends), strict=True)):
                look: dict[str, Any] = {"marker": MARKERS[number % len(MARKERS)], "color": f"C{number % 10}"}
                panel.scatter(*part.T, s=9, alpha=0.6, linewidths=0, label=name, **look)
            panel.set_title(f"{title} ({explained:.0%} of the variance)")
            panel.set_aspect("equal", adjustable="datalim")
        figure.legend(*axes[0, 0].get_legend_handles_labels(), frameon=False, ncols=8, loc="outside lower center")
        save(figure, target)


def principal_plane(latents: np.ndarray) -> tuple[np.ndarray, float]:
    """Points (N, 2) of latents (N, D) in the plane of their largest spread, and the share of the variance in it."""
    centred = latents - latents.mean(axis=0)
    if latents.shape[1] == 2:
        return centred, 1.0
    value, vector = np.linalg.eigh(centred.T @ centred)
    return centred @ vector[:, :-3:-1], float(value[-2:].sum() / max(value.sum(), 1e-30))


def _shade(panel: Any, times: np.ndarray, stress: np.ndarray) -> None:
    behind = panel.twinx()
    behind.fill_between(times, stress, color="C1", alpha=0.3, linewidth=0)
    behind.set_ylim(0.0, 1.5)
    behind.set_axis_off()


def _motions(arguments: argparse.Namespace) -> list[Shown]:
    found = [shown(path.stem, load_track(path)) for path in arguments.track]
    for folder in arguments.clip:
        clip = Clip(folder)
        track, sound = motion_of_clip(clip), clip.audio()
        stress = None if sound is None else stress_track(find_stresses(sound), len(track), track.fps)
        found.append(shown(folder.name, track, stress))
    if arguments.corpus is not None:
        first = {take.persona: take for take in reversed(list(MotionCorpus(arguments.corpus)))}
        for person in arguments.people:
            if person not in first:
                raise ClipError(f"{arguments.corpus}: holds no person {person}")
            found.append(shown(f"person {person}", first[person].track, first[person].stress.numpy()))
    if not found:
        raise ClipError("nothing to draw: give --track, --clip or --corpus")
    return found


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for trajectories.png and distributions.png")
    parser.add_argument("--track", type=Path, nargs="+", default=[], help="3DMM parameter files")
    parser.add_argument("--clip", type=Path, nargs="+", default=[], help="prepared clips")
    parser.add_argument("--corpus", type=Path, help="a motion corpus")
    parser.add_argument("--people", type=int, nargs="+", default=[0, 1, 2], help="numbers of people in it")
    parser.add_argument("--start", type=float, default=0.0, help="of the trajectories, seconds")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of the trajectories")
    arguments = parser.parse_args(argv)
    try:
        motions = _motions(arguments)
        draw_side_by_side(motions, arguments.out / "trajectories.png", arguments.start, arguments.seconds)
        draw_distributions(motions, arguments.out / "distributions.png")
    except DfanerfError as fault:
        print(f"plot_motion: {fault}", file=sys.stderr)
        return 2
    print(arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
