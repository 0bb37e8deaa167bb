"""What the audio encoder learns before it meets a person: synthesised speech and the mouth codes that belong to it.

The lips are those of the mean face; since codes hold no identity, they are those of every other face too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from dfanerf_rt.attributes.model import AttributeModel
from dfanerf_rt.audio.corpus import Corpus
from dfanerf_rt.audio.speech import SAMPLE_RATE_HZ, Phoneme
from dfanerf_rt.audio.visemes import viseme_track
from dfanerf_rt.face.model import FaceModel
from dfanerf_rt.train.sync_corpus import Pair, SyncTraining

PRETRAINING = SyncTraining(
    batch=48,
    n_variants=1,
    dropout=0.1,
    weight_decay=0.05,
    noise=0.2,
    colour=0.2,
    average_decay=0.998,
    muon=True,
    bfloat16=True,
)
"""For hours of speech: the corpus has voices, rooms and silence of its own, so that less is made up than for a clip."""


@torch.no_grad()
def lip_codes(phonemes: Sequence[Phoneme], n_samples: int, attributes: AttributeModel, face_model: FaceModel) -> Tensor:
    """Mouth codes of the mean face while it says phonemes.

    Args:
        phonemes: with times in samples at 16 kHz.
        n_samples: length of the sound.
        attributes: about the neutral mean face, as :meth:`AttributeModel.bundled` is.
        face_model: the 3DMM whose expressions are ARKit's.

    Returns:
        (T, mouth_dim) at 25 fps, frame k at sample 640 k, T = ceil(n_samples / 640).
    """
    expression = torch.from_numpy(viseme_track(phonemes, n_samples))
    landmarks = face_model.landmarks(torch.zeros(face_model.n_identity), expression)
    return attributes.encode(landmarks)[0].clone()


def speech_pairs(corpus: Corpus, indices: Iterable[int] | None = None) -> list[Pair]:
    """Sound and mouth codes of the utterances at ``indices`` (all when None), as the bundled models see them.

    An utterance takes 64 KB a second of sound, so an hour 230 MB.

    Raises:
        AudioError: an entry of the corpus is damaged.
    """
    attributes, face_model = AttributeModel.bundled(), FaceModel.bundled()
    pairs = []
    for index in range(len(corpus)) if indices is None else indices:
        samples, phonemes, _ = corpus.utterance(index)
        pairs.append((samples, lip_codes(phonemes, len(samples), attributes, face_model)))
    return pairs


def rest_code() -> Tensor:
    """Mouth code (mouth_dim,) of the mean face while nobody speaks."""
    codes = lip_codes((), SAMPLE_RATE_HZ, AttributeModel.bundled(), FaceModel.bundled())
    return codes[len(codes) // 2]
