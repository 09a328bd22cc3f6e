"""What the limiter answers, as values."""

from __future__ import annotations

from dataclasses import dataclass

GLOBAL = "*"


@dataclass(frozen=True, slots=True)
class Token:
    """The right to start one send until `expires_s` on this process's monotonic clock.

    `limits` are the keys that count it; `places` those of them that count it until its send has ended.
    """

    name: str
    limits: tuple[str, ...]
    expires_s: float
    places: tuple[str, ...] = ()


FREE = Token("", (), float("inf"))


@dataclass(frozen=True, slots=True)
class Wait:
    """No token: ask again in `seconds`. `of_domain`: the domain's limit stands in the way, others may go ahead."""

    seconds: float
    of_domain: bool
