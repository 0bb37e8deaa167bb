"""Sound and lips of a video brought in step, as the bundled encoders (eq. 2 and 3) hear and see them.

Videos are often cut, or encoded, with their sound a frame or two late. An audio encoder that learns from such a clip
looks that much less ahead than it could, and its lips are late by as much for a live voice.
"""

from __future__ import annotations

import numpy as np
import torch

from dfanerf_rt.attributes.model import AttributeModel
from dfanerf_rt.face.model import FaceModel
from dfanerf_rt.face.track import Track
from dfanerf_rt.sync.model import CODES_PER_SECOND, AudioEncoder, encode_audio
from dfanerf_rt.sync.offset import MAX_OFFSET_FRAMES, Lateness, lateness, similarity_matrix

MIN_CONFIDENCE = 0.1
MAX_ERROR_FRAMES = 0.5
"""Of nine seconds and more, real clips in step pass these two always, lips with other words in two of a hundred
cases (and a peak at the end of the search not at all)."""
MOST_FRAMES = 7500
"""Five minutes from the beginning are looked at: every frame is compared with every other."""
LEAST_FRAMES = 0.5
"""Less than this is in step: nobody sees it, and the encoder's own bias is not far below."""


@torch.no_grad()
def sound_lateness(samples: np.ndarray, track: Track, model: FaceModel) -> Lateness | None:
    """By how much the sound of a video at 25 fps is late.

    Args:
        samples: (N,) in [-1, 1] at 16 kHz, from the first frame on.
        track: of all frames; those without a tracked face do not count.
        model: of the track.

    Returns:
        None where the clip is too short to say.
    """
    neutral = model.landmarks(track.identity, torch.zeros(track.expression.shape[1]))
    mouth_code, _ = AttributeModel.bundled().for_person(neutral).encode(track.landmarks[:MOST_FRAMES])
    judge = AudioEncoder.bundled()
    audio_code = encode_audio(judge, samples, len(mouth_code))
    matrix = similarity_matrix(judge.comparable(audio_code), judge.comparable(mouth_code))
    return lateness(matrix, track.confidence[: len(matrix)].numpy() > 0)


def is_certain(found: Lateness) -> bool:
    """Whether lips and sound belong together, and where."""
    inside = abs(found.frames) < MAX_OFFSET_FRAMES - 1
    return inside and found.confidence >= MIN_CONFIDENCE and found.error_frames <= MAX_ERROR_FRAMES


def to_move_ms(found: Lateness | None) -> float:
    """By how much the sound is to be brought forward, milliseconds; 0 where it is in step or nothing is certain."""
    if found is None or not is_certain(found) or abs(found.frames) < LEAST_FRAMES:
        return 0.0
    return 1000.0 / CODES_PER_SECOND * found.frames


def sound_report(found: Lateness | None, moved_ms: float) -> str:
    """A line that says what was found and done."""
    if found is None:
        return "sound: too little of it with lips to tell whether it is late; it stays as it is in the video"
    if not is_certain(found):
        return (
            f"sound: it hardly fits the lips (confidence {found.confidence:.2f}); if somebody else speaks, or music "
            "plays, train on another clip or pass --no-audio"
        )
    late_ms, error_ms = (1000.0 / CODES_PER_SECOND * value for value in (found.frames, found.error_frames))
    how = f"{abs(late_ms):.0f} ms {'late' if late_ms > 0 else 'early'} to the lips, +/- {error_ms:.0f} ms"
    done = "moved to fit them" if moved_ms else "in step, left as it is"
    return f"sound: {how} (confidence {found.confidence:.2f}); {done}"
