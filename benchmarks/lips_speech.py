"""Lips of synthesised speech in voices and languages that were not trained on: the truth is known to the frame."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lips_measures import Predict, Scores, mean_scores, opening_and_width, pooled
from numpy.typing import NDArray

from dfanerf_rt.attributes.model import AttributeModel
from dfanerf_rt.audio.corpus import Corpus, build_corpus
from dfanerf_rt.audio.corpus_plan import CorpusConfig
from dfanerf_rt.audio.speech import Phoneme
from dfanerf_rt.evaluate.articulation import closures, roundings, speech_mean
from dfanerf_rt.evaluate.lips import correlation
from dfanerf_rt.face.model import FaceModel
from dfanerf_rt.train.speech import lip_codes


@dataclass(frozen=True)
class Spoken:
    """An utterance with the lips that belong to it."""

    samples: NDArray[np.float32]
    phonemes: tuple[Phoneme, ...]
    opening_mm: NDArray[np.float32]
    width_mm: NDArray[np.float32]


def held_out_corpus(work: Path, hours: float, clean: bool, voices: tuple[str, ...] = ()) -> Corpus:
    """Build or open the held-out corpus, the same sentences ``clean`` or as a microphone hears most of them.

    Raises:
        AudioError: a voice is not installed, or the folder holds a corpus of other settings.
    """
    config = CorpusConfig(hours=hours, split="held-out", voices=voices)
    if clean:
        config = CorpusConfig(hours=hours, split="held-out", voices=voices, clean_share=1.0)
    return build_corpus(work / f"held-out_{hours:g}h_{'clean' if clean else 'augmented'}", config)


def by_voice(corpus: Corpus, attributes: AttributeModel) -> dict[str, list[Spoken]]:
    """All utterances of a corpus by who says them; pauses are left out."""
    face = FaceModel.bundled()
    found: defaultdict[str, list[Spoken]] = defaultdict(list)
    for index in range(len(corpus)):
        samples, phonemes, line = corpus.utterance(index)
        if line.voice:
            truth = opening_and_width(lip_codes(phonemes, len(samples), attributes, face), attributes)
            found[line.voice].append(Spoken(samples, phonemes, *truth))
    return dict(sorted(found.items()))


def voice_scores(spoken: list[Spoken], predict: Predict, attributes: AttributeModel) -> Scores:
    """How well the lips of one voice follow.

    Means of opening and width are this voice's while it speaks, of the predicted lips for what is predicted and of the
    true ones for the truth.
    """
    codes = [predict(each.samples, len(each.opening_mm)) for each in spoken]
    lips = [opening_and_width(each, attributes) for each in codes]
    truth = [(each.opening_mm, each.width_mm) for each in spoken]
    scores: Scores = {}
    for index, name in enumerate(("opening_corr", "width_corr")):
        found, true = (np.concatenate([each[index] for each in side]) for side in (lips, truth))
        scores[name] = correlation(found, true), len(true)
    for suffix, side in (("", lips), ("_truth", truth)):
        for index, name, test in ((0, "closures", closures), (1, "roundings", roundings)):
            means = [speech_mean(each[index], said.phonemes) for each, said in zip(side, spoken, strict=True)]
            mean = float(np.nanmean(means))
            events = [
                event
                for each, said in zip(side, spoken, strict=True)
                for event in test(each[index], said.phonemes, mean)
            ]
            if events:
                scores[name + suffix] = float(np.mean(events)), len(events)
    return scores


def all_voices(voices: dict[str, list[Spoken]], predict: Predict, attributes: AttributeModel) -> dict[str, Scores]:
    """Scores of every voice, and "all": the mean over voices, with closures over all events together beside it."""
    scores = {voice: voice_scores(spoken, predict, attributes) for voice, spoken in voices.items()}
    each = list(scores.values())
    return {**scores, "all": {**mean_scores(each), "closures_pooled": pooled(each, "closures")}}
