"""What 40 ms of sound cost on the way to an audio code, on one core; checked against offline before it is timed.

    .venv/bin/python benchmarks/bench_sync.py [--avatar FILE] [--rate 48000] [--channels 1] [--json OUT]

The sound comes in chunks of 10 ms as 16-bit samples, as a microphone hands it over. ``intake`` makes it 16 kHz mono,
``mfcc`` makes its features, ``encoder`` makes one code of the features under its window; ``all`` is the whole way as
the live loop takes it, measured by itself. Torch has one thread. The budget of ``all`` is 2 ms. Exit status 1: what
streams differs from what the whole sound gives; nothing is timed then.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from result_schema import machine, write_results
from timing import p50, p95, time_calls

from dfanerf_rt.audio.intake import SoundIntake, to_mono_16k
from dfanerf_rt.audio.mfcc import StreamingMfcc, mfcc
from dfanerf_rt.avatar import Avatar
from dfanerf_rt.errors import DfanerfError
from dfanerf_rt.live.chain import load_encoder
from dfanerf_rt.sync.model import AudioEncoder, encode_audio
from dfanerf_rt.sync.stream import StreamingSync

BUDGET_MS = 2.0
SOUND_MS, CHUNK_MS = 40, 10
CHUNKS = SOUND_MS // CHUNK_MS
TOLERANCE = {"intake": 1e-6, "mfcc": 1e-5, "all": 1e-5}


def voice(rate_hz: int, channels: int, seconds: float) -> NDArray[np.int16]:
    """(N, channels) of a buzz with a changing pitch, and noise, as a device would record it."""
    t = np.arange(round(rate_hz * seconds)) / rate_hz
    pitch = 2 * np.pi * (120.0 * t - 4.0 * np.cos(2.5 * t))
    buzz = sum(np.sin(k * pitch) / k for k in range(1, 25)) * (0.5 + 0.5 * np.sin(2 * np.pi * 3.0 * t))
    sound = 0.15 * buzz[:, None] + 0.01 * np.random.default_rng(0).standard_normal((len(t), channels))
    return np.round(sound * 32767.0).astype(np.int16)


def chunks(sound: NDArray[Any], rate_hz: int) -> list[NDArray[Any]]:
    """Pieces of 10 ms; a rest is left out."""
    step = rate_hz * CHUNK_MS // 1000
    return [sound[start : start + step] for start in range(0, len(sound) - step + 1, step)]


def differences(encoder: AudioEncoder, recorded: NDArray[np.int16], rate_hz: int) -> dict[str, float]:
    """The largest difference between what streams and what the whole sound gives; infinite where lengths differ."""
    whole = to_mono_16k(recorded, rate_hz)
    intake = SoundIntake(rate_hz, recorded.shape[1])
    features, stream = StreamingMfcc(encoder.config.mfcc), StreamingSync(encoder)
    samples = [*(intake.push(chunk) for chunk in chunks(recorded, rate_hz)), intake.flush()]
    frames = np.concatenate([features.push(each) for each in samples])
    codes = torch.cat([*(stream.push(each) for each in samples), stream.flush()]).numpy()

    def worst(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
        return float(np.abs(found - expected).max()) if found.shape == expected.shape else float("inf")

    return {
        "intake": worst(np.concatenate(samples), whole),
        "mfcc": worst(frames, mfcc(whole, encoder.config.mfcc)),
        "all": worst(codes, encode_audio(encoder, whole).numpy()),
    }


def parts(encoder: AudioEncoder, recorded: NDArray[np.int16], rate_hz: int) -> dict[str, Callable[[], object]]:
    """The calls to time, each of which takes the next 40 ms."""
    whole = to_mono_16k(recorded, rate_hz)
    raw, mono = itertools.cycle(chunks(recorded, rate_hz)), itertools.cycle(chunks(whole, 16_000))
    intake, features = SoundIntake(rate_hz, recorded.shape[1]), StreamingMfcc(encoder.config.mfcc)
    all_intake, stream = SoundIntake(rate_hz, recorded.shape[1]), StreamingSync(encoder)
    windows = _windows(encoder, mfcc(whole, encoder.config.mfcc))

    def take_in() -> None:
        for _ in range(CHUNKS):
            intake.push(next(raw))

    def make_features() -> None:
        for _ in range(CHUNKS):
            features.push(next(mono))

    def encode() -> None:
        with torch.inference_mode():
            encoder(next(windows))

    def everything() -> None:
        for _ in range(CHUNKS):
            stream.push(all_intake.push(next(raw)))

    while stream.n_codes == 0:  # until the lookahead of the first frame has come, nothing is encoded
        everything()
    return {"intake": take_in, "mfcc": make_features, "encoder": encode, "all": everything}


def _windows(encoder: AudioEncoder, features: NDArray[np.float32]) -> Iterator[torch.Tensor]:
    n_window = encoder.config.n_window
    starts = range(0, len(features) - n_window + 1, 4)
    return itertools.cycle([torch.from_numpy(features[None, start : start + n_window].copy()) for start in starts])


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--avatar", default="presenter", help="whose encoder; the bundled one's if not given")
    parser.add_argument("--rate", type=int, default=48_000, help="of the sound that comes, Hz")
    parser.add_argument("--channels", type=int, default=1, help="of the sound that comes")
    parser.add_argument("--calls", type=int, default=2000, help="calls to time, at most")
    parser.add_argument("--seconds", type=float, default=2.0, help="time to spend on a row, about")
    parser.add_argument("--json", type=Path, help="write the results here")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    rate_hz, channels = arguments.rate, arguments.channels
    try:
        encoder = load_encoder(Avatar.load(arguments.avatar))
        SoundIntake(rate_hz, channels)  # refuses what cannot be
    except DfanerfError as fault:
        sys.exit(f"bench_sync: {fault}")
    recorded = voice(rate_hz, channels, 4.0)
    found = differences(encoder, recorded, rate_hz)
    wrong = [name for name, difference in found.items() if not difference <= TOLERANCE[name]]
    for name in wrong:
        print(
            f"bench_sync: {name}: streaming differs from offline by {found[name]:.1e}, allowed {TOLERANCE[name]:.0e}; "
            "nothing is timed",
            file=sys.stderr,
        )
    rows = []
    for name, call in parts(encoder, recorded, rate_hz).items() if not wrong else ():
        times = time_calls(call, "cpu", arguments.calls, arguments.seconds)
        row = {
            "part": name,
            "rate_hz": rate_hz,
            "channels": channels,
            "sound_ms": SOUND_MS,
            "threads": 1,
            "ms_p50": p50(times),
            "ms_p95": p95(times),
            "ms_min": min(times),
            "spread_ms": p95(times) - p50(times),
            "calls": len(times),
            "difference": found.get(name),
        }
        rows.append(row)
        print(
            f"{name:>8} p50 {row['ms_p50']:.3f} ms, p95 {row['ms_p95']:.3f} ms per {SOUND_MS} ms of sound", flush=True
        )
    n_weights = sum(each.numel() for each in encoder.parameters())
    if rows:
        spent = rows[-1]["ms_p95"]
        print(f"{n_weights} weights; {spent / BUDGET_MS:.0%} of the budget of {BUDGET_MS:g} ms at the 95th percentile")
    if arguments.json and rows:
        document = {"kind": "sync", "machine": machine(), "avatar": arguments.avatar, "encoder_weights": n_weights}
        write_results(arguments.json, {**document, "budget_ms": BUDGET_MS, "results": rows})
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
