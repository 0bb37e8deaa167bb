"""What the live pipeline measures about itself."""

from __future__ import annotations

import resource
import sys
import threading
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dfanerf_rt.live.outlets import SinkReport
from dfanerf_rt.live.stages import FPS, Frame


@dataclass(frozen=True)
class LiveReport:
    """A whole run in figures."""

    frames: int
    """Pictures delivered."""
    dropped_frames: int
    """Pictures that would have come too late."""
    dropped_audio_samples: int
    sound_s: float
    """Length of the sound."""
    wall_s: float
    first_frame_s: float
    """From the first sound to the first picture."""
    fps: float
    """Pictures a second reached."""
    latency_ms_p50: float
    latency_ms_p95: float
    render_ms_p50: float
    """Fold and march of one picture."""
    render_ms_p95: float
    sinks: tuple[SinkReport, ...] = ()
    """One row for each sink."""

    @property
    def render_fps(self) -> float:
        """Pictures a second if nothing but rendering took time."""
        return 1000.0 / self.render_ms_p50 if self.render_ms_p50 else 0.0


class LiveStats:
    """Collects from the stages' threads; read once a second.

    ``latency_ms`` is from the capture of the sound that a picture belongs to until the picture is handed to the
    sinks, look-ahead included. ``av_offset_ms`` is how far the pictures on the time line stand from their sound,
    averaged over the places of the last second: a dropped picture's place repeats an older one and counts as negative.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._started_s = 0.0
        self._latest_s = 0.0
        self._first_frame_s = 0.0
        self._latency_ms = array("d")
        self._render_ms = array("d")
        self._last_index = -1
        self._offsets_ms: list[float] = []
        self._frames_before = 0

    def start(self, now_s: float) -> None:
        """The sound begins at monotonic time ``now_s``."""
        self._started_s = self._latest_s = now_s

    def rendered(self, ms: float) -> None:
        """One picture took ``ms`` to fold and march."""
        with self._lock:
            self._render_ms.append(ms)

    def delivered(self, frame: Frame, now_s: float) -> None:
        """One picture reached the sinks."""
        with self._lock:
            if not self._latency_ms:
                self._first_frame_s = now_s - self._started_s
            self._latency_ms.append(1000.0 * (now_s - frame.sound_s))
            held = range(1, frame.index - self._last_index) if self._last_index >= 0 else range(0)
            self._offsets_ms.extend(-1000.0 * places / FPS for places in held)
            self._offsets_ms.append(0.0)
            self._last_index = frame.index

    def line(self, now_s: float, dropped_frames: int, dropped_audio_samples: int) -> dict[str, Any]:
        """The figures since the last call (counts: since the start), keys as DESIGN's ``--stats``."""
        with self._lock:
            frames = len(self._latency_ms)
            recent = self._latency_ms[self._frames_before :]
            offsets, self._offsets_ms = self._offsets_ms, []
            elapsed_s = now_s - self._latest_s
            self._frames_before, self._latest_s = frames, now_s
        return {
            "t_s": round(now_s - self._started_s, 3),
            "frames": frames,
            "fps": round(len(recent) / elapsed_s, 2) if elapsed_s > 0 else 0.0,
            "latency_ms_p50": _percentile(recent, 50),
            "latency_ms_p95": _percentile(recent, 95),
            "dropped_frames": dropped_frames,
            "dropped_audio_samples": dropped_audio_samples,
            "av_offset_ms": round(float(np.mean(offsets)), 2) if offsets else None,
            "rss_mb": round(rss_mb(), 1),
        }

    def report(
        self,
        now_s: float,
        sound_s: float,
        realtime: bool,
        dropped_frames: int,
        dropped_audio_samples: int,
        sinks: tuple[SinkReport, ...] = (),
    ) -> LiveReport:
        """The whole run."""
        frames = len(self._latency_ms)
        wall_s = now_s - self._started_s
        over_s = sound_s if realtime else wall_s
        return LiveReport(
            frames=frames,
            dropped_frames=dropped_frames,
            dropped_audio_samples=dropped_audio_samples,
            sound_s=sound_s,
            wall_s=wall_s,
            first_frame_s=self._first_frame_s,
            fps=frames / over_s if over_s > 0 else 0.0,
            latency_ms_p50=_percentile(self._latency_ms, 50) or 0.0,
            latency_ms_p95=_percentile(self._latency_ms, 95) or 0.0,
            render_ms_p50=_percentile(self._render_ms, 50) or 0.0,
            render_ms_p95=_percentile(self._render_ms, 95) or 0.0,
            sinks=sinks,
        )


def rss_mb() -> float:
    """Memory of this process that is in RAM now (where the system does not say: the most it was), 10^6 bytes."""
    statm = Path("/proc/self/statm")
    if statm.is_file():
        return int(statm.read_text().split()[1]) * resource.getpagesize() / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def _percentile(values: array[float], percent: float) -> float | None:
    return round(float(np.percentile(np.asarray(values), percent)), 2) if len(values) else None
