"""The synthetic presenters: clips of people who do not exist, made from the CC0 head model and synthesised speech."""

from dfanerf_rt.clip.presenter.make import PresenterConfig, generate_presenter, tiny_config

__all__ = ["PresenterConfig", "generate_presenter", "tiny_config"]
