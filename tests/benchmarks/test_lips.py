"""Measures of lips on lips that are known: perfect ones, late ones, and those of a loudness meter."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import bench_lips
import numpy as np
import pytest
import torch
from lips_faces import Face, all_faces, face_scores, held_out_scores, load_faces
from lips_measures import mean_scores, opening_and_width, pooled, rows, table
from lips_silence import quiet_sounds, silence_scores, speech_of, worst_scores
from lips_speech import Spoken, all_voices, voice_scores
from result_schema import check_results, read_results

from dfanerf_rt.attributes.model import AttributeModel
from dfanerf_rt.audio.speech import Phoneme
from dfanerf_rt.audio.voices import available_voices
from dfanerf_rt.clip.format import Clip
from dfanerf_rt.errors import ClipError
from dfanerf_rt.face.model import FaceModel
from dfanerf_rt.sync.model import FRAME_SAMPLES, AudioEncoder, SyncConfig
from dfanerf_rt.train.speech import lip_codes, rest_code
from tests.benchmarks.conftest import MACHINE

VOICES = ("espeak:it+f4", "flite:rms")
missing = sorted({voice.partition("+")[0] for voice in VOICES}.difference(available_voices()))
needs_voices = pytest.mark.skipif(bool(missing), reason=f"voices are not installed: {', '.join(missing)}")


def said(names: str) -> Spoken:
    """A quarter of a second for each phoneme, silent sound, and the lips that belong to it."""
    phonemes = tuple(Phoneme(name, 4000 * index, 4000 * (index + 1)) for index, name in enumerate(names))
    attributes = AttributeModel.bundled()
    codes = lip_codes(phonemes, 4000 * len(names), attributes, FaceModel.bundled())
    return Spoken(np.zeros(4000 * len(names), np.float32), phonemes, *opening_and_width(codes, attributes))


def true_code(spoken: Spoken) -> torch.Tensor:
    return lip_codes(spoken.phonemes, len(spoken.samples), AttributeModel.bundled(), FaceModel.bundled())


def test_perfect_lips_follow_and_still_ones_do_not() -> None:
    spoken = said("_amabi_uma_")
    scores = voice_scores([spoken], lambda samples, n: true_code(spoken), AttributeModel.bundled())
    assert scores["opening_corr"] == (pytest.approx(1.0), len(spoken.opening_mm))
    assert scores["width_corr"][0] == pytest.approx(1.0)
    assert scores["closures"] == scores["closures_truth"] == (1.0, 3)  # m, b, m
    assert scores["roundings"] == scores["roundings_truth"] == (1.0, 1)
    agape = true_code(said("aaa"))[5]
    still = voice_scores([spoken], lambda samples, n: agape.expand(n, -1), AttributeModel.bundled())
    assert still["opening_corr"][0] == pytest.approx(0.0, abs=1e-6) and still["closures"] == (0.0, 3)


def test_overall_is_the_mean_over_voices() -> None:
    voices = {"a": [said("_ama_")] * 3, "b": [said("_ia_")]}
    found = all_voices(
        voices, lambda samples, n: true_code(voices["a" if n > 26 else "b"][0]), AttributeModel.bundled()
    )
    assert set(found) == {"a", "b", "all"}
    assert found["a"]["closures"][1] == 3 and "closures" not in found["b"]
    assert found["all"]["closures"] == found["all"]["closures_pooled"] == (1.0, 3)
    mixed = [{"share": (1.0, 1)}, {"share": (0.0, 3)}, {}]
    assert mean_scores(mixed) == {"share": (0.5, 4)} and pooled(mixed, "share") == (0.25, 4)
    assert worst_scores(mixed) == {"share": (1.0, 1)}


def face(n_frames: int = 150) -> Face:
    """A mean face whose lips wander."""
    attributes = AttributeModel.bundled()
    sounds = np.random.default_rng(3).choice(list("aiuomsle"), size=n_frames // 6 + 1)
    codes = true_code(said("".join(sounds)))[:n_frames]
    opening, _ = opening_and_width(codes, attributes)
    return Face("made.mp4", attributes, np.zeros(FRAME_SAMPLES * n_frames, np.float32), codes, opening, 100)


def test_late_sound_is_told_from_late_lips() -> None:
    made = face()
    perfect = face_scores(made, lambda samples, n: made.mouth_code)
    assert perfect["opening_corr"][0] == pytest.approx(1.0, abs=1e-5)
    assert perfect["in_sync"][0] == perfect["in_sync_own"][0] == 1.0 and perfect["offset_frames"][0] == 0.0
    late = face_scores(made, lambda samples, n: made.mouth_code.roll(3, dims=0))
    assert late["offset_frames"][0] == 3.0 and late["in_sync"][0] == 0.0 and late["in_sync_own"][0] == 1.0
    # Lips of now look like those tracked three frames ago.
    assert late["opening_corr_lag_-3"][0] > 0.99 > late["opening_corr"][0]
    found = all_faces([made, replace(made, name="again")], lambda samples, n: made.mouth_code)
    assert found["all"]["in_sync_pooled"] == (1.0, 2 * perfect["in_sync"][1])


def test_amplitude_is_of_the_frames_held_out() -> None:
    made = face()
    rest = made.mouth_code.mean(dim=0)
    scores = held_out_scores(made, lambda samples, n: rest + 0.5 * (made.mouth_code - rest))
    assert scores["opening_corr"][1] == 50 and scores["opening_corr"][0] > 0.95
    assert 0.35 < scores["amplitude"][0] < 0.65


def loudness_meter(samples: np.ndarray, n_frames: int) -> torch.Tensor:
    """Lips that open with the amplitude of the sound, up to 0.1, two frames late."""
    frames = np.zeros((n_frames, FRAME_SAMPLES), np.float32)
    frames.reshape(-1)[: len(samples)] = samples[: frames.size]
    loud = np.minimum(np.roll(np.sqrt(np.square(frames).mean(axis=1)), 2) / 0.1, 1.0)[:, None]
    agape = true_code(said("aaa"))[5]
    return rest_code() + torch.from_numpy(loud.astype(np.float32)) * (agape - rest_code())


def test_noise_opens_a_loudness_meter_and_silence_closes_it() -> None:
    speech = np.full(16_000, 0.1, np.float32)
    scores = silence_scores(speech, loudness_meter, AttributeModel.bundled(), rest_code())
    assert scores["digital_200ms"][0] == pytest.approx(0.0, abs=1e-4) and scores["digital_spread"][0] < 1e-4
    assert 0.005 < scores["pink_after"][0] < 0.2 and 0.005 < scores["breath_after"][0] < 0.2
    assert scores["pink_alone"][0] == pytest.approx(scores["pink_after"][0], rel=0.5)
    assert silence_scores(np.zeros(16_000, np.float32), loudness_meter, AttributeModel.bundled(), rest_code()) == {}


def test_quiet_sounds_have_their_levels() -> None:
    sounds = quiet_sounds()
    assert {len(sound) for sound in sounds.values()} == {80_000} and not sounds["digital"].any()
    assert 20 * np.log10(np.sqrt(np.square(sounds["pink"]).mean())) == pytest.approx(-50.0, abs=0.01)
    assert 20 * np.log10(np.sqrt(np.square(sounds["breath"][:12_800]).mean())) == pytest.approx(-45.0, abs=0.01)
    assert not sounds["breath"][12_800:25_600].any()


def test_speech_ends_with_its_last_phoneme() -> None:
    assert len(speech_of(said("_am_"))) == 12_000


def test_tables_and_rows() -> None:
    assert table(["voice", "n", "x"], [["a", 12, 0.5], ["long", None, None]]).splitlines() == [
        "| voice |  n |     x |",
        "| ----- | -: | ----: |",
        "| a     | 12 | 0.500 |",
        "| long  |  - |     - |",
    ]
    made = rows("speech", "generic", "all", 100, {"opening_corr": (0.5, 7)}, seed=3)
    assert made[0]["value"] == 0.5 and made[0]["count"] == 7 and made[0]["seed"] == 3
    document: dict[str, Any] = {"kind": "lips", "machine": MACHINE, "results": made}
    check_results(document)
    made[0]["value"] = None
    with pytest.raises(ValueError, match=r"results\[0\]\.value is None, expected float"):
        check_results(document)


@pytest.fixture
def shared(tiny_clip: Clip, tmp_path: Path) -> Path:
    """A folder of clips with a made one in it, which the work folder beside it has prepared already."""
    video = tmp_path / "shared" / "video" / "made.mp4"
    video.parent.mkdir(parents=True)
    video.write_bytes(b"stands for a video")
    folder = tmp_path / "work" / "clips" / "made"
    shutil.copytree(tiny_clip.root, folder)
    meta = json.loads((folder / "clip.json").read_text())
    meta["source_sha256"] = sha256(video.read_bytes()).hexdigest()
    (folder / "clip.json").write_text(json.dumps(meta))
    return tmp_path / "shared"


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    made = AudioEncoder(SyncConfig(lookahead_ms=120.0, channels=8)).eval().requires_grad_(False)
    made.head[-1].bias[-1] = -5.0  # what it knows of lips is that they are apart: those that never open have no measure
    made.save(tmp_path / "encoder.safetensors")
    return tmp_path / "encoder.safetensors"


def test_a_prepared_clip_is_used_again_unless_its_video_changed(shared: Path) -> None:
    (found,) = load_faces(shared, shared.parent / "work", ("video/*.mp4",))
    assert found.name == "made.mp4" and found.mouth_code.shape == (75, 32) and found.n_train == 69
    (shared / "video" / "made.mp4").write_bytes(b"another video")
    with pytest.raises(ClipError, match=r"was prepared from another video than made\.mp4"):
        load_faces(shared, shared.parent / "work", ("video/*.mp4",))
    for nothing, message in ((None, "no folder of real clips"), (shared / "video", "holds no folder of videos")):
        with pytest.raises(ClipError, match=message):
            load_faces(nothing, shared)


@needs_voices
def test_script(shared: Path, encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "lips.json"
    options = ["--encoder", str(encoder), "--work", str(tmp_path / "work"), "--json", str(target)]
    tiny = ["--hours", "0.005", "--voices", *VOICES, "--lookahead", "40", "200", "--steps", "4", "--seeds", "2"]
    assert bench_lips.main([*options, *tiny, "--shared", str(shared), "--clips", "video/made.mp4"]) == 0
    document = read_results(target)
    assert document["encoder"] == "encoder.safetensors"
    assert document["absent"]["200 ms ahead"] == "the encoder looks 120 ms ahead"
    found = {(row["part"], row["model"], row["subject"], row["lookahead_ms"]) for row in document["results"]}
    for expected in (
        ("speech clean", "generic", "flite:rms", 40.0),
        ("speech augmented", "generic", "all", 100.0),
        ("faces", "generic", "made.mp4", 40.0),
        ("fine-tuned", "fine-tuned, seed 1", "made.mp4", 100.0),
        ("silence", "generic", "worst", 100.0),
        ("silence", "fine-tuned, seed 0", "worst", 100.0),
    ):
        assert expected in found
    assert str(tmp_path) not in target.read_text()
    assert "| made.mp4" in capsys.readouterr().out

    assert bench_lips.main([*options, *tiny[:5], "--parts", "faces", "silence"]) == 0
    assert "no folder of real clips" in read_results(target)["absent"]["faces, fine-tuned"]
    assert "faces, fine-tuned: absent, no folder of real clips" in capsys.readouterr().out


def test_what_cannot_be_used_is_one_line(tmp_path: Path, encoder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench_lips.main(["--encoder", str(tmp_path / "none")]) == 2
    options = ["--encoder", str(encoder), "--work", str(tmp_path), "--parts", "speech", "--voices", "flite:nobody"]
    assert bench_lips.main(options) == 2
    complaint = capsys.readouterr().err.splitlines()
    assert len(complaint) == 2 and all(line.startswith("bench_lips: ") for line in complaint)
