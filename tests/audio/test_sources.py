"""Sound files of every kind, the bounded ring, and sources on the sample clock."""

from __future__ import annotations

import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dfanerf_rt.audio.intake import SoundIntake
from dfanerf_rt.audio.microphone import AudioDevice, choose_device
from dfanerf_rt.audio.ring import SampleRing
from dfanerf_rt.audio.sources import FileSource, load_audio
from dfanerf_rt.errors import AudioError


def tone(rate_hz: int, seconds: float = 0.5) -> np.ndarray:
    """440 Hz at half amplitude."""
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(round(rate_hz * seconds)) / rate_hz)).astype(np.float32)


@pytest.mark.parametrize("rate_hz", [8000, 16000, 22050, 44100, 48000, 192000])
@pytest.mark.parametrize(
    ("container", "subtype"),
    [("wav", "PCM_U8"), ("wav", "PCM_16"), ("wav", "PCM_24"), ("wav", "PCM_32"), ("wav", "FLOAT"), ("flac", "PCM_16")],
)
def test_any_rate_and_width(tmp_path: Path, rate_hz: int, container: str, subtype: str) -> None:
    path = tmp_path / f"a.{container}"
    soundfile.write(path, tone(rate_hz), rate_hz, subtype=subtype)
    samples = load_audio(path)
    assert samples.dtype == np.float32 and samples.shape == (8000,)
    inner = slice(400, -400)
    # half a sample of this tone at its steepest: 0.5 * sin(2 pi 440 / 32000), and the rounding of 8 bits
    np.testing.assert_allclose(samples[inner], tone(16000)[inner], atol=0.044 + (0.01 if subtype == "PCM_U8" else 0.0))


@pytest.mark.parametrize(("rate_hz", "subtype"), [(16000, "PCM_16"), (48000, "PCM_24"), (44100, "FLOAT")])
def test_a_file_is_a_stream(tmp_path: Path, rate_hz: int, subtype: str) -> None:
    """What a microphone would have heard in chunks of 10 ms is what the file gives."""
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, (2 * rate_hz, 2)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", sound, rate_hz, subtype=subtype)
    stored = soundfile.read(tmp_path / "a.wav", dtype="float32")[0]
    intake, step = SoundIntake(rate_hz, 2), rate_hz // 100
    parts = [intake.push(stored[start : start + step]) for start in range(0, len(stored), step)]
    np.testing.assert_allclose(load_audio(tmp_path / "a.wav"), np.concatenate([*parts, intake.flush()]), atol=1e-6)


def test_channels_are_averaged(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "two.wav", np.stack([tone(16000), -0.5 * tone(16000)], axis=1), 16000)
    np.testing.assert_allclose(load_audio(tmp_path / "two.wav"), tone(16000) / 4, atol=1e-4)
    eight = np.zeros((8000, 8), np.float32)
    eight[:, 3] = tone(16000)
    soundfile.write(tmp_path / "eight.wav", eight, 16000)
    np.testing.assert_allclose(load_audio(tmp_path / "eight.wav"), tone(16000), atol=1e-4)


@pytest.mark.parametrize("name", ["a.ogg", "a.mp3", "a.m4a"])
def test_compressed_sound(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith("m4a"):
        write_m4a(path)
    else:
        soundfile.write(path, tone(44100, 1.0), 44100)
    samples = load_audio(path)
    assert len(samples) == pytest.approx(16000, abs=2000)
    middle = samples[4000:12000]
    frequency = np.argmax(np.abs(np.fft.rfft(middle * np.hanning(len(middle))))) * 16000 / len(middle)
    assert frequency == pytest.approx(440, abs=3)


def write_m4a(path: Path) -> None:
    """A second of sound in a container that libsndfile does not know."""
    import av

    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("aac", rate=44100, layout="mono")
        for start in range(0, 44032, 1024):
            frame = av.AudioFrame.from_ndarray(tone(44100, 1.0)[None, start : start + 1024], "fltp", "mono")
            frame.sample_rate, frame.pts, frame.time_base = 44100, start, Fraction(1, 44100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_a_wav_cut_anywhere_in_its_head_is_refused(tmp_path: Path, subtype: str) -> None:
    soundfile.write(tmp_path / "a.wav", np.stack([tone(48000)] * 2, axis=1), 48000, subtype=subtype)
    data, cut = (tmp_path / "a.wav").read_bytes(), tmp_path / "cut.wav"
    for length in range(64):
        cut.write_bytes(data[:length])
        with pytest.raises(AudioError) as caught:
            load_audio(cut)
        assert str(caught.value).startswith(str(cut)) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3", "a.m4a"])
def test_a_damaged_head_is_read_or_refused(tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A header that lies about rates, lengths and channels costs neither memory nor a traceback."""
    whole = tmp_path / name
    if name.endswith("m4a"):
        write_m4a(whole)
    else:
        soundfile.write(whole, tone(48000, 0.2), 48000)
    data, damaged = whole.read_bytes(), tmp_path / f"damaged.{name[2:]}"
    generator = np.random.default_rng(0)
    n_refused = 0
    for _ in range(150):
        changed = bytearray(data)
        for place in generator.integers(0, 120, 3):
            changed[place] = generator.choice([0, 1, 127, 128, 255])
        damaged.write_bytes(changed)
        try:
            samples = load_audio(damaged)
        except AudioError as fault:
            assert "\n" not in str(fault)
            n_refused += 1
        else:
            assert np.isfinite(samples).all() and len(samples) < 16000 * 60
    assert n_refused > 0
    assert capfd.readouterr().err == ""


def test_what_is_no_sound_is_refused_in_one_line(tmp_path: Path) -> None:
    good = tmp_path / "good.wav"
    soundfile.write(good, tone(16000), 16000, subtype="PCM_16")
    data = good.read_bytes()
    (tmp_path / "cut.wav").write_bytes(data[: len(data) // 2])
    (tmp_path / "header.wav").write_bytes(data[:30])
    (tmp_path / "text.wav").write_text("this is no sound " * 100)
    (tmp_path / "zero.wav").write_bytes(b"")
    soundfile.write(tmp_path / "none.wav", np.zeros(0, np.float32), 16000)
    bad = tone(16000)
    bad[100] = np.nan
    soundfile.write(tmp_path / "nan.wav", bad, 16000, subtype="FLOAT")
    soundfile.write(tmp_path / "a.flac", tone(16000, 5.0), 16000)
    flac = (tmp_path / "a.flac").read_bytes()
    (tmp_path / "cut.flac").write_bytes(flac[: len(flac) // 2])
    soundfile.write(tmp_path / "a.ogg", tone(16000, 5.0), 16000)
    ogg = (tmp_path / "a.ogg").read_bytes()
    (tmp_path / "cut.ogg").write_bytes(ogg[: len(ogg) // 2])
    (tmp_path / "end.ogg").write_bytes(ogg[:-1])
    soundfile.write(tmp_path / "a.mp3", tone(16000, 5.0), 16000)
    mp3 = (tmp_path / "a.mp3").read_bytes()
    (tmp_path / "cut.mp3").write_bytes(mp3[: len(mp3) // 2])
    soundfile.write(tmp_path / "slow.wav", tone(2000), 2000)
    soundfile.write(tmp_path / "loud.wav", 20000 * tone(16000), 16000, subtype="FLOAT")
    soundfile.write(tmp_path / "one.wav", tone(48000)[:1], 48000)
    write_m4a(tmp_path / "a.m4a")
    m4a = (tmp_path / "a.m4a").read_bytes()
    (tmp_path / "cut.m4a").write_bytes(m4a[: len(m4a) // 2])
    (tmp_path / "pickle.wav").write_bytes(b"\x80\x04\x95" + bytes(100))
    for name, said in {
        "missing.wav": "no such file",
        "cut.wav": "truncated",
        "header.wav": "truncated",
        "text.wav": "not a sound",
        "zero.wav": "empty",
        "none.wav": "no sound",
        "nan.wav": "NaN",
        "cut.flac": "truncated",
        "cut.m4a": "truncated",
        "cut.ogg": "truncated",
        "end.ogg": "truncated",
        "cut.mp3": "truncated",
        "slow.wav": "sampling rate is 2000 Hz, expected a whole number from 4000 to 768000",
        "loud.wav": "sound reaches 10000",
        "one.wav": "0 samples at 16 kHz",
        "pickle.wav": "not a sound",
        ".": "not a file",
    }.items():
        with pytest.raises(AudioError, match=said) as caught:
            load_audio(tmp_path / name)
        assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_a_silent_video_is_refused(tmp_path: Path) -> None:
    from dfanerf_rt.live.mp4 import Mp4Writer

    with Mp4Writer(tmp_path / "a.mp4", 32, 32, sample_rate_hz=0) as writer:
        writer.write_frame(np.zeros((32, 32, 3), np.uint8))
    with pytest.raises(AudioError, match="no sound track"):
        load_audio(tmp_path / "a.mp4")


def test_ring_drops_the_oldest_and_keeps_counting() -> None:
    ring = SampleRing(480)
    for k in range(5):
        ring.write(np.full(160, k, np.float32), float(k))
    ring.close()
    chunks = [ring.read(0.0) for _ in range(3)]
    assert [(c.start, c.end, c.samples[0], c.captured_s) for c in chunks if c] == [
        (320, 480, 2.0, 2.0),
        (480, 640, 3.0, 3.0),
        (640, 800, 4.0, 4.0),
    ]
    assert ring.dropped_samples == 320 and ring.read(0.0) is None and ring.closed


def test_a_file_in_real_time_comes_as_a_microphone_would_bring_it() -> None:
    samples = tone(16000, 0.255)
    source = FileSource(samples, realtime=True)
    source.start()
    began = time.monotonic()
    chunks, late = [], []
    while (chunk := source.read()) is not None:
        chunks.append(chunk)
        late.append(time.monotonic() - began - chunk.end / 16000)
    assert [len(c.samples) for c in chunks] == [160] * 25 + [80]
    assert [c.start for c in chunks] == list(range(0, 4080, 160))
    np.testing.assert_array_equal(np.concatenate([c.samples for c in chunks]), samples)
    assert min(late) > -0.002 and np.median(late) < 0.02
    assert chunks[9].captured_s - chunks[0].captured_s == pytest.approx(0.09, abs=1e-6)


def test_a_file_that_is_not_in_real_time_comes_at_once() -> None:
    source = FileSource(tone(16000, 30.0), realtime=False)
    source.start()
    began = time.monotonic()
    assert sum(1 for _ in iter(source.read, None)) == 3000
    assert time.monotonic() - began < 2.0
    source.start()
    assert source.read() is not None
    source.stop()
    assert source.read() is None


DEVICES = [
    AudioDevice(0, "hw:0 Analog", 2, 44100, False),
    AudioDevice(3, "USB Microphone", 1, 48000, True),
    AudioDevice(5, "USB Webcam", 1, 16000, False),
]


def test_choosing_a_microphone() -> None:
    assert choose_device(DEVICES, None).index == 3
    assert choose_device(DEVICES[:1], None).index == 0
    assert (
        choose_device(DEVICES, 5).index
        == choose_device(DEVICES, "5").index
        == choose_device(DEVICES, "webcam").index
        == 5
    )
    for devices, wanted, said in (
        ([], None, "no microphone found; connect one, or use --audio FILE"),
        (DEVICES, "piano", "no microphone 'piano'; there are 0 'hw:0 Analog', 3 'USB Microphone'"),
        (DEVICES, "usb", "choose by number"),
        (DEVICES, 4, "no microphone '4'"),
    ):
        with pytest.raises(AudioError, match=said):
            choose_device(devices, wanted)


def test_real_files(shared_data: Path) -> None:
    import av

    for path in sorted([*(shared_data / "audio").glob("*.wav"), *(shared_data / "grid").glob("*.mpg")]):
        samples = load_audio(path)
        with av.open(str(path)) as container:
            stream = container.streams.audio[0]
            seconds = float(stream.duration * stream.time_base)
        assert len(samples) / 16000 == pytest.approx(seconds, abs=0.1), path.name
        assert 0.01 < np.abs(samples).max() <= 1.0 and abs(samples.mean()) < 0.02, path.name
