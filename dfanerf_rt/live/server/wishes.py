"""What browsers ask for, checked: an offer with settings, and changes of settings."""

from __future__ import annotations

import secrets
from typing import Any

from dfanerf_rt.sync.model import LIVE_LOOKAHEAD_MS

MOST_SEED = 2**31
NUMBERS = {"temperature": (1.0, 4.0), "lookahead_ms": (LIVE_LOOKAHEAD_MS, 1000.0)}
"""What is taken where nothing is said, and the most."""
SETTINGS = ("avatar", "seed", *NUMBERS)


def offer_of(body: Any) -> dict[str, Any]:
    """{"sdp", "avatar", "seed", "temperature", "lookahead_ms"} of an offer, as usual where nothing is said: the avatar
    None, a seed that is drawn.

    Raises:
        ValueError: names the first that is wrong.
    """
    if not isinstance(body, dict):
        raise ValueError("the body is no JSON object")
    if not isinstance(body.get("sdp"), str):
        raise ValueError("'sdp' is missing or no text")
    avatar = None if body.get("avatar") is None else _setting("avatar", body["avatar"])
    numbers = {name: _setting(name, body.get(name, usual)) for name, (usual, _) in NUMBERS.items()}
    return {"sdp": body["sdp"], "avatar": avatar, "seed": _setting("seed", body.get("seed")), **numbers}


def changes_of(body: Any) -> dict[str, Any]:
    """Those of :data:`SETTINGS` that are to change; a seed of null is one that is drawn.

    Raises:
        ValueError: names the first that is wrong or unknown.
    """
    if not isinstance(body, dict):
        raise ValueError("the body is no JSON object")
    if not body:
        raise ValueError(f"nothing is to change; expected some of {', '.join(SETTINGS)}")
    for name in body:
        if name not in SETTINGS:
            raise ValueError(f"'{name[:40]}' cannot be changed; there are {', '.join(SETTINGS)}")
    return {name: _setting(name, value) for name, value in body.items()}


def _setting(name: str, value: Any) -> Any:
    if name == "avatar":
        if not isinstance(value, str):
            raise ValueError("'avatar' is no text")
        return value
    if name == "seed":
        if value is None:
            return secrets.randbelow(MOST_SEED)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < MOST_SEED:
            raise ValueError(f"'seed' is no whole number from 0 to {MOST_SEED - 1}")
        return value
    _, most = NUMBERS[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise ValueError(f"'{name}' is no number from 0 to {most:g}")
    return float(value)
