"""When mails that wait for a domain come back to ask: one after the other, at the domain's pace. Pure.

If all of them came when the next token is free, one would get it and all others would be read and parked again, for
every single token. The turns of one process are a little closer together than the limit allows, so that none is lost;
several processes come as many times too often, which costs a request each and nothing else.
"""

from __future__ import annotations

from leadstream_mailer.bounds import Bound

# A mail looks again after this long in any case: limits change, and other workers go.
LONGEST_S = 600.0
_CLOSER = 0.8
_USUAL_SEND_S = 0.2
_SHORTEST_S = 0.05
_WEIGHT = 0.2


class Turns:
    """The next free turn of each limit."""

    def __init__(self) -> None:
        self._last_s: dict[str, float] = {}
        self._sends_s: dict[str, float] = {}

    def took(self, key: str, seconds: float) -> None:
        """A send that held a place of this limit has taken so long."""
        usual = self._sends_s.get(key, seconds)
        self._sends_s[key] = usual + _WEIGHT * (seconds - usual)

    def next_s(self, bound: Bound, wait_s: float, now_s: float) -> float:
        """Seconds until a mail that was told to wait `wait_s` is to ask again."""
        if bound.comes_back:  # its tokens seldom last their whole span
            send_s = max(_SHORTEST_S, self._sends_s.get(bound.key, _USUAL_SEND_S))
            wait_s, apart_s = min(wait_s, send_s), send_s / bound.count
        else:
            apart_s = bound.span_ms / 1000 / bound.count
        at_s = max(now_s + wait_s, self._last_s.get(bound.key, now_s) + _CLOSER * apart_s)
        self._last_s[bound.key] = at_s = min(at_s, now_s + LONGEST_S)
        if len(self._last_s) > 10_000:
            self._last_s = {key: at for key, at in self._last_s.items() if at > now_s}
        return at_s - now_s
