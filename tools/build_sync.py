"""Pre-train the bundled audio encoder on synthesised speech: about two minutes on two cores.

espeak-ng speaks sentences in several languages, voices, rates and pitches; its phoneme times give visemes, the bundled
head model their landmarks, the bundled autoencoder their mouth codes. A clip's training starts from these weights.

    .venv/bin/python tools/build_sync.py [--out FILE] [--steps N]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from dfanerf_rt.attributes.model import AttributeModel
from dfanerf_rt.audio.speech import synthesize
from dfanerf_rt.audio.visemes import VisemeConfig, viseme_track
from dfanerf_rt.face.model import FaceModel
from dfanerf_rt.sync.model import SyncConfig
from dfanerf_rt.train.sync import Pair, SyncTraining, train_on_pairs

ASSET = Path(__file__).parents[1] / "dfanerf_rt" / "sync" / "assets" / "sync.safetensors"

TEXTS = {
    "en": (
        "Before the boat left the harbour, five fishermen mended their nets by the pier.",
        "She packed a blue umbrella, two warm jumpers and a map of the mountain paths.",
        "Every evening the baker puts fresh bread, plums and honey on the table.",
        "How much would you pay for a small house with a view over the valley?",
        "The music began slowly, then both violins joined and filled the whole room.",
        "Thirty thousand people watched the match while thunder rolled above the roof.",
        "My brother often jokes that winter mornings were made for staying in bed.",
        "Please move the yellow box from the shelf and push the chair against the wall.",
    ),
    "de": (
        "Am frühen Morgen fuhr der Bus über die Brücke, vorbei an Wäldern und Feldern.",
        "Möchten Sie lieber Kaffee mit Milch, oder nehmen Sie einen Becher Pfefferminztee?",
        "Meine Mutter pflanzt jedes Jahr schöne Blumen und ein paar Apfelbäume im Garten.",
    ),
    "fr": (
        "Le boulanger ouvre sa boutique avant huit heures, même pendant les vacances.",
        "Un petit bateau bleu passe lentement sous le vieux pont de pierre.",
    ),
    "es": ("Mi familia vive en un pueblo pequeño cerca del mar, donde siempre sopla el viento.",),
}
VARIANTS = ("", "+f1", "+f2", "+f4", "+m1", "+m3", "+m5", "+m7")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ASSET)
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # the network is so small that a second thread only waits

    attributes, face_model = AttributeModel.bundled(), FaceModel.bundled()
    pairs = speech_pairs(attributes, face_model, arguments.seed)
    rest = mouth_codes(np.zeros((1, 52), np.float32), attributes, face_model)[0]
    seconds = sum(len(codes) for _, codes in pairs) / 25
    print(f"{len(pairs)} sentences, {seconds:.0f} s of speech", flush=True)

    def show(fraction: float, scalars: dict[str, float]) -> None:
        if round(fraction * arguments.steps) % 250 == 0:
            print(
                f"{fraction:4.0%}  " + "  ".join(f"{name} {value:.3f}" for name, value in scalars.items()), flush=True
            )

    training = SyncTraining(steps=arguments.steps, n_variants=2, dropout=0.1)
    encoder = train_on_pairs(pairs, rest, SyncConfig(), training, seed=arguments.seed, on_progress=show)
    encoder.save(arguments.out)
    print(f"{arguments.out}: {arguments.out.stat().st_size / 1e3:.0f} kB")


def speech_pairs(attributes: AttributeModel, face_model: FaceModel, seed: int) -> list[Pair]:
    """Every sentence in four voices, with noise and a little echo, and its mouth codes."""
    random = np.random.default_rng(seed)
    pairs = []
    for language, texts in TEXTS.items():
        for text in texts:
            for variant in random.choice(VARIANTS, 4, replace=False):
                rate, pitch = int(random.integers(130, 220)), int(random.integers(25, 75))
                speech = synthesize(text, language + str(variant), rate, pitch)
                expression = viseme_track(speech.phonemes, len(speech.samples), config=VisemeConfig())
                codes = mouth_codes(expression, attributes, face_model)
                pairs.append((_record(speech.samples, random), codes))
    return pairs


def mouth_codes(expression: np.ndarray, attributes: AttributeModel, face_model: FaceModel) -> torch.Tensor:
    """(T, 52) expressions of the mean face → (T, 32) mouth codes."""
    identity = torch.zeros(len(expression), face_model.n_identity)
    with torch.inference_mode():
        return attributes.encode(face_model.landmarks(identity, torch.from_numpy(expression)))[0].clone()


def _record(samples: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """What a microphone in a room makes of clean synthetic speech: echo, noise, level."""
    n_echo = int(random.integers(800, 4000))
    echo = random.standard_normal(n_echo) * np.exp(-6.0 * np.arange(n_echo) / n_echo)
    echo *= random.uniform(0.0, 0.4) / np.linalg.norm(echo)
    echo[0] += 1.0
    sound = np.convolve(samples, echo)[: len(samples)]
    sound += 10.0 ** random.uniform(-4.0, -2.5) * random.standard_normal(len(samples))
    return (sound * 10.0 ** random.uniform(-0.5, 0.2)).astype(np.float32)


if __name__ == "__main__":
    main()
