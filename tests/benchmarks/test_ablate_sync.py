"""The ablation at tiny sizes: the readout against a map that is known, and the script with what it keeps and draws."""

from __future__ import annotations

from pathlib import Path

import ablate_sync
import numpy as np
import pytest
import torch
from lips_readout import mfcc_windows, read_out
from result_schema import read_results

from dfanerf_rt.audio.mfcc import mfcc
from dfanerf_rt.audio.voices import available_voices
from dfanerf_rt.sync.model import AudioEncoder, SyncConfig

VOICES, HELD_OUT = ("espeak:en", "flite:kal16"), ("espeak:it+f4", "flite:rms")
missing = sorted({voice.partition("+")[0] for voice in VOICES + HELD_OUT}.difference(available_voices()))
needs_voices = pytest.mark.skipif(bool(missing), reason=f"voices are not installed: {', '.join(missing)}")


def test_readout_finds_a_linear_map_and_leaves_out_what_says_nothing() -> None:
    random = torch.Generator().manual_seed(0)
    true, offset = torch.randn(3, 2, generator=random), torch.tensor([5.0, -2.0])

    def features(samples: np.ndarray, n_frames: int) -> torch.Tensor:
        x = torch.from_numpy(samples[: 3 * n_frames]).reshape(n_frames, 3)
        return torch.cat([100.0 * x + 7.0, torch.full((n_frames, 1), 4.0)], dim=1)  # scaled, and one that never varies

    sounds = [np.random.default_rng(k).standard_normal(60).astype(np.float32) for k in range(10)]
    pairs = [(sound, torch.from_numpy(sound).reshape(20, 3) @ true + offset) for sound in sounds]
    predict = read_out(features, pairs[:9])
    torch.testing.assert_close(predict(sounds[9], 20), pairs[9][1], atol=1e-3, rtol=0.0)
    noise = [(sound, torch.randn(20, 2, generator=random) + offset) for sound in sounds]
    spread = (read_out(features, noise)(sounds[9], 20) - offset).abs().mean()
    assert spread < 0.4, "what cannot be predicted is near its mean"
    with pytest.raises(ValueError, match="too few pairs"):
        read_out(features, pairs[:4])


def test_windows_are_the_features_that_an_encoder_sees() -> None:
    encoder = AudioEncoder(SyncConfig(channels=4)).eval()
    encoder.feature_mean.fill_(-20.0)
    encoder.feature_std.fill_(30.0)
    sound = np.random.default_rng(0).uniform(-0.1, 0.1, 16_000).astype(np.float32)
    shorter = encoder.with_lookahead(100.0).config
    windows = mfcc_windows(encoder, 100.0)(sound, 25)
    assert windows.shape == (25, shorter.n_window * 28)
    # Frame 12's own feature spans 12.5 ms on each side of sample 12 * 640 + 120.
    own = mfcc(sound[12 * 640 - 80 : 12 * 640 + 320], shorter.mfcc)
    found = windows[12].reshape(28, shorter.n_window).T[shorter.n_past]
    torch.testing.assert_close(found, encoder.normalise(torch.from_numpy(own))[0])


@needs_voices
def test_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    import plot_lips

    target, drawn = tmp_path / "ablation.json", tmp_path / "ablation.svg"
    options = ["--work", str(tmp_path / "work"), "--json", str(target), "--plot", str(drawn), "--steps", "2"]
    options += ["--hours", "0.012", "--voices", *VOICES, "--held-out-hours", "0.004", "--held-out-voices", *HELD_OUT]
    assert ablate_sync.main(options) == 0
    document = read_results(target)
    assert document["absent"]["faces"] == "no folder of real clips was given (--shared)"
    measured = {(row["model"], row["lookahead_ms"]) for row in document["results"]}
    assert {(name, 100.0) for name in ("raw MFCC", "regression alone", "contrastive alone", "both")} <= measured
    assert {("both", ms) for ms in (0.0, 40.0, 80.0, 120.0, 200.0)} <= measured
    for ms in (100.0, 200.0):
        name = ablate_sync.alone(ms)
        assert (name in document["absent"]) != ((name, ms) in measured)
    assert "| contrastive alone" in capsys.readouterr().out
    values = {row["model"]: row["value"] for row in document["results"] if row["measure"] == "opening_corr"}
    assert len(set(values.values())) == len(values), "each way of training gives lips of its own"

    def never(*arguments: object, **named: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(ablate_sync, "train_on_pairs", never)
    assert ablate_sync.main(options) == 0
    assert read_results(target)["results"] == document["results"]
    again = tmp_path / "again.svg"
    assert plot_lips.main([str(target), "--out", str(again)]) == 0
    assert again.read_bytes() == drawn.read_bytes()
    assert "opening corr., unseen voices" in again.read_text(encoding="utf-8")


def test_what_cannot_be_used_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ablate_sync.main(["--work", str(tmp_path), "--corpus", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.startswith("ablate_sync: ")
