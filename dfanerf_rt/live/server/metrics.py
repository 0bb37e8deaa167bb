"""The server's figures in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dfanerf_rt.live.server.visits import Visit
from dfanerf_rt.live.stats import rss_mb


@dataclass
class Totals:
    """What those who have left add up to."""

    sessions: int = 0
    refused: int = 0
    frames: int = 0
    dropped_frames: int = 0
    dropped_samples: int = 0

    def add(self, visit: Visit) -> None:
        """Keep the counts of a visit that is over."""
        frames, dropped_frames, dropped_samples = counts(visit)
        self.frames += frames
        self.dropped_frames += dropped_frames
        self.dropped_samples += dropped_samples


def counts(visit: Visit) -> tuple[int, int, int]:
    """Frames, dropped frames and dropped samples of a visit."""
    latest = visit.latest
    dropped = latest.get("dropped_frames", 0) + visit.dropped
    return latest.get("frames", 0), dropped, latest.get("dropped_audio_samples", 0)


def exposition(visits: Iterable[Visit], totals: Totals, most_sessions: int) -> str:
    """All of it, one family after another."""
    now = list(visits)
    frames, dropped_frames, dropped_samples = (
        before + sum(counts(visit)[place] for visit in now)
        for place, before in enumerate((totals.frames, totals.dropped_frames, totals.dropped_samples))
    )
    lines: list[str] = []

    def family(name: str, kind: str, text: str, *samples: tuple[str, float]) -> None:
        lines.append(f"# HELP {name} {text}")
        lines.append(f"# TYPE {name} {kind}")
        lines.extend(f"{name}{labels} {value:g}" for labels, value in samples)

    family("dfanerf_sessions", "gauge", "Sessions that are open.", ("", len(now)))
    family("dfanerf_sessions_limit", "gauge", "Sessions that may be open at once.", ("", most_sessions))
    family("dfanerf_sessions_total", "counter", "Sessions that were begun.", ("", totals.sessions))
    family("dfanerf_sessions_refused_total", "counter", "Sessions refused past the limit.", ("", totals.refused))
    family("dfanerf_frames_total", "counter", "Pictures delivered.", ("", frames))
    family("dfanerf_frames_dropped_total", "counter", "Pictures that came too late.", ("", dropped_frames))
    family("dfanerf_audio_samples_dropped_total", "counter", "Samples of sound lost.", ("", dropped_samples))
    family("dfanerf_fps", "gauge", "Pictures a second.", *((_label(v), v.latest.get("fps", 0.0)) for v in now))
    family(
        "dfanerf_latency_seconds",
        "gauge",
        "From sound to picture, over the last half second.",
        *(
            (_label(visit, quantile), visit.latest[key] / 1000.0)
            for visit in now
            for quantile, key in (("0.5", "latency_ms_p50"), ("0.95", "latency_ms_p95"))
            if visit.latest.get(key) is not None
        ),
    )
    family("process_resident_memory_bytes", "gauge", "Memory in RAM.", ("", rss_mb() * 1e6))
    return "\n".join(lines) + "\n"


def _label(visit: Visit, quantile: str | None = None) -> str:
    # Only the beginning: the whole id is what lets a browser end or feed its session.
    labels = f'session="{visit.id[:6]}"'
    return "{" + labels + (f',quantile="{quantile}"' if quantile else "") + "}"
