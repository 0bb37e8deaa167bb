"""What the corpus says: sentences of everyday life in many languages, and endless new lines made from them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from importlib import resources

import numpy as np

from dfanerf_rt.errors import AudioError

_MARKS = re.compile(r"[.,;:!?¿¡。、]+")
_KINDS = ("invented", "sentence", "mixture", "number", "question", "word", "list", "two")
_SHARES = (0.40, 0.10, 0.20, 0.08, 0.06, 0.05, 0.07, 0.04)
_VOWELS = frozenset("aeiouyæøåäöüőűıàáâãèéêëěìíîïòóôõùúûůýąęœаеёиоуыэюяіїєъαεηιουωάέήίόύώ")  # noqa: RUF001


def languages() -> tuple[str, ...]:
    """Languages with sentences, named as espeak-ng names them."""
    return tuple(_asset())


def sentences(language: str) -> tuple[str, ...]:
    """The written sentences of a language: Mandarin is in pinyin with tones as digits, Japanese in kana.

    Raises:
        AudioError: there are none.
    """
    if language not in _asset():
        raise AudioError(f"no sentences in the language {language!r}; expected one of {', '.join(_asset())}")
    return _asset()[language]


def lines(language: str, random: np.random.Generator) -> Iterator[str]:
    """Endless lines: sentences, words of several sentences mixed, invented words, numbers, questions, lists, pairs.

    Mixed words make no sense; they bring sounds together that the sentences keep apart. Invented ones, the beginning of
    one word and the end of another, do so within words: an encoder that sees each word a hundred times learns words.

    Raises:
        AudioError: no sentences in this language.
    """
    known = sentences(language)
    words = tuple(dict.fromkeys(word for sentence in known for word in _MARKS.sub(" ", sentence).split()))
    while True:
        yield _line(str(random.choice(_KINDS, p=_SHARES)), known, words, random)


def _line(kind: str, known: tuple[str, ...], words: tuple[str, ...], random: np.random.Generator) -> str:
    def some(n_words: int) -> list[str]:
        return [words[int(index)] for index in random.integers(0, len(words), n_words)]

    sentence = known[int(random.integers(0, len(known)))]
    if kind == "sentence":
        return sentence
    if kind == "two":
        return f"{sentence} {known[int(random.integers(0, len(known)))]}"
    if kind == "word":
        return some(1)[0] + "."
    if kind == "question":
        return " ".join(some(int(random.integers(2, 7)))) + "?"
    if kind == "list":
        return ", ".join(some(int(random.integers(3, 7)))) + "."
    spoken = some(int(random.integers(3, 11)))
    if kind == "invented":
        return " ".join(_splice(one, other, random) for one, other in zip(spoken, some(len(spoken)), strict=True)) + "."
    if kind == "number":
        number = int(random.integers(0, int(random.choice((10, 100, 1000, 2030)))))
        spoken.insert(int(random.integers(0, len(spoken) + 1)), str(number))
    return " ".join(spoken) + "."


def _splice(one: str, other: str, random: np.random.Generator) -> str:
    """The beginning of one word and the end of another, joined where a vowel meets a consonant; ``one`` where none can.

    Scripts other than Latin, Cyrillic and Greek are left as they are.
    """
    if not one.isalpha() or not other.isalpha():
        return one
    joints = [
        one[:i] + other[j:]
        for i in range(1, len(one) + 1)
        for j in range(len(other))
        if (one[i - 1].lower() in _VOWELS) != (other[j].lower() in _VOWELS) and 3 <= i + len(other) - j <= 11
    ]
    if not joints or not (_VOWELS & set(one.lower()) and _VOWELS & set(other.lower())):
        return one
    return joints[int(random.integers(0, len(joints)))].lower()


@cache
def _asset() -> dict[str, tuple[str, ...]]:
    text = resources.files("dfanerf_rt.audio").joinpath("assets/texts.json").read_text("utf-8")
    return {language: tuple(found) for language, found in json.loads(text).items()}
