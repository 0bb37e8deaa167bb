"""Errors that a user can meet. Each names the thing, what was found, and what was expected.

Commands turn every :class:`DfanerfError` into one line on standard error and exit status 2.
"""

from __future__ import annotations


class DfanerfError(Exception):
    """Base of all errors caused by input, files, or the machine rather than by a fault of ours."""


class ShapeError(DfanerfError, ValueError):
    """A tensor has the wrong shape, dtype, device or layout, or holds numbers that cannot be used."""


class ClipError(DfanerfError):
    """A prepared clip, or the video it is made from, cannot be used."""


class AvatarError(DfanerfError):
    """An avatar file cannot be used."""


class FaceModelError(DfanerfError):
    """A 3DMM file is missing, damaged, or of an unknown layout."""


class AudioError(DfanerfError):
    """A sound file or sound device cannot be used."""


class UnspokenError(AudioError):
    """A synthesiser failed on one sentence of several; ``index`` is its place among them."""

    def __init__(self, message: str, index: int) -> None:
        super().__init__(message)
        self.index = index


class BackendUnavailable(DfanerfError, RuntimeError):
    """An operator was asked to run on a backend that cannot run here; lists every backend's reason."""
