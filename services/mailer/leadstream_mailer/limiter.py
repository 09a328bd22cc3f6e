"""The limits, held by all workers together in Redis (`lua/take.lua`).

A token is good for `grace_ms` from the moment it was asked for. See `limits.py` for why this
bounds the starts in every window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from leadstream_events import keys, scripts
from leadstream_events.effects import Argument
from leadstream_events.ids import new_id
from leadstream_events.limits import DomainRates, Rate
from leadstream_events.redis_client import Client

GLOBAL = "*"


@dataclass(frozen=True, slots=True)
class Token:
    """The right to start one send until `expires_s` on this process's monotonic clock."""

    name: str
    limits: tuple[str, ...]
    expires_s: float


FREE = Token("", (), float("inf"))


@dataclass(frozen=True, slots=True)
class Wait:
    """No token: ask again in `seconds`. `of_domain`: the domain's limit stands in the way, others may go ahead."""

    seconds: float
    of_domain: bool


class Limiter:
    """Asks for tokens. Without any limit it grants at once and asks nobody."""

    def __init__(self, client: Client, rate: Rate | None, domains: DomainRates) -> None:
        self._client, self._rate, self._domains = client, rate, domains

    def _limits_of(self, address: str) -> dict[str, Rate]:
        limits = {GLOBAL: self._rate} if self._rate else {}
        domain = self._domains.of(address)
        return limits | {domain[0]: domain[1]} if domain else limits

    async def take(self, addresses: Sequence[str], now_s: float) -> list[Token | Wait]:
        """Asks for one token per address; answers in their order. `now_s` is read before the call."""
        wanted = [self._limits_of(address) for address in addresses]
        rates = {name: rate for limits in wanted for name, rate in limits.items()}
        if not rates:
            return [FREE] * len(addresses)
        names = list(rates)
        request = new_id()
        args: list[Argument] = [request, len(names)]
        for name in names:
            args += (rates[name].count, rates[name].period_ms + rates[name].grace_ms)
        args += (",".join(str(names.index(name) + 1) for name in limits) for limits in wanted)
        replies = await scripts.run(self._client, scripts.TAKE, [keys.LIMITS + name for name in names], args)
        out: list[Token | Wait] = []
        answers = zip(replies[::2], replies[1::2], strict=True)
        for number, (limits, (wait_ms, blocking)) in enumerate(zip(wanted, answers, strict=True)):
            if wait_ms:
                out.append(Wait(wait_ms / 1000, of_domain=names[blocking - 1] != GLOBAL))
            else:
                grace_s = min((rate.grace_ms for rate in limits.values()), default=0) / 1000
                out.append(Token(f"{request}:{number}", tuple(limits), now_s + grace_s if limits else float("inf")))
        return out

    async def give_back(self, tokens: Sequence[Token]) -> None:
        """Returns tokens whose send did not start (ZREM), in one round trip."""
        held: dict[str, list[str]] = {}
        for token in tokens:
            for name in token.limits:
                held.setdefault(keys.LIMITS + name, []).append(token.name)
        if held:
            async with self._client.pipeline(transaction=False) as pipe:
                for key, names in held.items():
                    pipe.zrem(key, *names)
                await pipe.execute()
