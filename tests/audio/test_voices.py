"""Recorded and formant voices: times that fit the sound, settings that act, refusals that say how to mend."""

# ruff: noqa: RUF001 - these are phonetic symbols, not look-alikes by mistake

from __future__ import annotations

import numpy as np
import pytest

from dfanerf_rt.audio import festival, flite
from dfanerf_rt.audio.phone_sets import PHONE_SETS, to_ipa
from dfanerf_rt.audio.speech import SAMPLE_RATE_HZ, SILENCE, Speech, cover
from dfanerf_rt.audio.visemes import phoneme_symbols
from dfanerf_rt.audio.voices import Request, available_voices, can_set, speak, speak_many
from dfanerf_rt.errors import AudioError

LANGUAGE_TEXTS = {
    "en": "My big map is up above, a happy puppy looked at a paper cup.",
    "it": "La mamma beve un poco di vino, il papà va a piedi al fiume.",
    "fi": "Pappa poimi mustikoita, ja äiti leipoi hyvää kakkua.",
    "cs": "Maminka peče bábovku, tatínek vaří a pije kávu.",
    "ca": "La mama va comprar pa i pomes, però plovia força.",
    "ru": "Мама мыла раму, а папа пил пиво в парке.",
    "hi": "मेरा नाम पवन है, पापा सेब और केले लाए",
    "mr": "माझे नाव पवन आहे, बाबा पुस्तक घेऊन आले, पाऊस पडतो",
    "te": "నా పేరు పవన్, పాప పాలు తాగింది",
}
RECORDED = [f"flite:{name}" for name in flite.VOICES] + [f"festival:{name}" for name in festival.VOICES]


def text_of(voice: str) -> str:
    engine, name = voice.split(":")
    return LANGUAGE_TEXTS[festival.VOICES[name].language if engine == "festival" else "en"]


def need(voice: str) -> None:
    if voice.partition("+")[0] not in available_voices():
        pytest.skip(f"{voice.partition(':')[0]} or its voice is not installed ({voice})")


def quietest_points(spoken: Speech) -> np.ndarray:
    """Where each p, t or k between sounds is quietest, as a share of its length, looked for up to 50 ms beside it."""
    power = np.convolve(np.diff(spoken.samples) ** 2, np.ones(240) / 240, "same")
    found = []
    for before, stop in zip(spoken.phonemes, spoken.phonemes[1:], strict=False):
        if phoneme_symbols(stop.name) not in ("p", "t", "k") or before.name == SILENCE:
            continue
        lower = stop.start_sample - 800
        quietest = lower + int(power[lower : stop.end_sample + 800].argmin())
        found.append((quietest - stop.start_sample) / (stop.end_sample - stop.start_sample))
    return np.array(found)


def base_frequency_hz(samples: np.ndarray) -> float:
    """Median pitch of the loud half, by autocorrelation."""
    blocks = samples[: samples.size // 800 * 800].reshape(-1, 800)
    found = []
    for block in blocks[(blocks**2).mean(1) > (samples**2).mean() / 2]:
        correlation = np.correlate(block, block, "full")[799:]
        lag = 46 + int(correlation[46:267].argmax())
        if correlation[lag] > correlation[0] / 2:
            found.append(SAMPLE_RATE_HZ / lag)
    return float(np.median(found))


@pytest.mark.parametrize("voice", [*RECORDED, "espeak:en", "espeak:en+f2"])
def test_phonemes_cover_the_sound_and_stops_are_closed(voice: str) -> None:
    need(voice)
    spoken = speak(text_of(voice), voice)
    assert spoken.samples.dtype == np.float32
    assert 0.1 < np.abs(spoken.samples).max() <= 1.0
    assert spoken.phonemes[0].start_sample == 0 and spoken.phonemes[-1].end_sample == spoken.samples.size
    for before, after in zip(spoken.phonemes, spoken.phonemes[1:], strict=False):
        assert before.start_sample < before.end_sample == after.start_sample
    assert all(phoneme_symbols(phoneme.name) for phoneme in spoken.phonemes if phoneme.name != SILENCE)
    assert {"m", "p"} <= {phoneme_symbols(phoneme.name) for phoneme in spoken.phonemes}
    points = quietest_points(spoken)
    assert points.size >= 2 and 0.0 < np.median(points) < 0.9


@pytest.mark.parametrize("voice", [*RECORDED, "espeak:en"])
def test_rate_and_pitch_act_alone_or_are_refused(voice: str) -> None:
    need(voice)
    takes_rate, takes_pitch = can_set(voice)
    text = text_of(voice)
    plain = speak(text, voice)
    if takes_rate:
        quick = speak(text, voice, rate=1.4)
        assert 1.2 < plain.samples.size / quick.samples.size < 1.6
    else:
        with pytest.raises(AudioError, match=r"the rate of .* cannot be set"):
            speak(text, voice, rate=1.4)
    if takes_pitch:
        high = speak(text, voice, pitch=1.3)
        assert 1.18 < base_frequency_hz(high.samples) / base_frequency_hz(plain.samples) < 1.42
        assert 0.9 < plain.samples.size / high.samples.size < 1.1
    else:
        with pytest.raises(AudioError, match=r"the pitch of .* cannot be set"):
            speak(text, voice, pitch=1.3)


def test_many_sentences_keep_their_order_and_are_those_of_one() -> None:
    need("festival:kal_diphone")
    need("flite:kal16")
    asked = [
        Request("A boat.", "festival:kal_diphone"),
        Request("A pie.", "flite:kal16", 1.2, 0.9),
        Request('A "map", a cup.', "festival:kal_diphone", 0.8, 1.2),
    ]
    for request, spoken in zip(asked, speak_many(asked), strict=True):
        alone = speak(request.text, request.voice, request.rate, request.pitch)
        assert spoken.text == request.text and spoken.phonemes == alone.phonemes
        np.testing.assert_array_equal(spoken.samples, alone.samples)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("a", "slt"), "names no synthesiser; expected espeak:NAME, flite:NAME, festival:NAME"),
        (("a", "flite:nobody"), "flite has no voice 'nobody'"),
        (("a", "festival:nobody"), "the voice 'nobody' of festival is not known"),
        (("a", "espeak:en", 1.0, 3.0), "pitch is 3.0, expected 0.5 to 2"),
    ],
)
def test_refusals_say_what_is_wrong(arguments: tuple, says: str) -> None:
    with pytest.raises(AudioError, match=says):
        speak(*arguments)


def test_a_letter_that_a_voice_does_not_read_is_named() -> None:
    need("festival:kal_diphone")
    monkey = festival.FestivalVoice("festvox-kallpc16k", "en", "radio", "latin-1")
    with pytest.raises(AudioError, match="does not read the letter 'ж'"):
        festival._line(monkey, "kal_diphone", 0, "aж", 1.0, 1.0)


def test_an_absent_program_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(festival.shutil, "which", lambda name: None)
    with pytest.raises(AudioError, match="apt install festival"):
        speak("a", "festival:kal_diphone")

    def absent(name: str, mode: int = 0) -> None:
        raise OSError(name)

    monkeypatch.setattr(flite.ctypes, "CDLL", absent)
    flite._load.cache_clear()
    flite._load_voice.cache_clear()
    with pytest.raises(AudioError, match="apt install libflite1"):
        speak("a", "flite:slt")


def test_every_phone_has_a_mouth_shape_and_an_unknown_one_is_named() -> None:
    for table in PHONE_SETS.values():
        assert all(ipa == SILENCE or phoneme_symbols(ipa) for ipa in table.values())
    assert (to_ipa("radio", "ch"), to_ipa("finnish", "@:"), to_ipa("czech", "#")) == ("tʃ", "æː", SILENCE)
    with pytest.raises(AudioError, match="the phone 'zz' is not in the phone set 'radio'"):
        to_ipa("radio", "zz")


def test_cover_joins_pauses_and_cuts_at_the_end() -> None:
    phonemes = cover([("_", 0.1), ("_", 0.2), ("a", 0.5), ("b", 9.0)], 16_000)
    assert [(p.name, p.start_sample, p.end_sample) for p in phonemes] == [
        ("_", 0, 3_200),
        ("a", 3_200, 8_000),
        ("b", 8_000, 16_000),
    ]
    assert [p.name for p in cover([("a", 0.5), ("_", 0.6)], 16_000)] == ["a", "_"]
