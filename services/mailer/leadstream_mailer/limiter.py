"""The limits, held by all workers together in Redis (`lua/take.lua`).

A token is good for `grace_ms` from the moment it was asked for. See `limits.py` for why this
bounds the starts in every window. A place (how many mails at a time) is a token that comes back when the send has
ended; while it lasts it is renewed, and that of a worker that died comes free after a lease.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from structlog.stdlib import get_logger

from leadstream_events import refused_rounds, scripts, slowing
from leadstream_events.domains import domain_of
from leadstream_events.effects import Argument
from leadstream_events.ids import new_id
from leadstream_events.redis_client import Client, redis_may_refuse
from leadstream_events.runtime.source import monotonic_s
from leadstream_events.server_time import server_ms
from leadstream_events.slow_down import FIRST, SlowDown
from leadstream_mailer import metrics
from leadstream_mailer.bounds import Bound, Care
from leadstream_mailer.queueing import Turns
from leadstream_mailer.tokens import FREE, GLOBAL, Token, Wait

__all__ = ["FREE", "GLOBAL", "Limiter", "Token", "Wait"]

logger = get_logger("leadstream.mailer")

# Other workers' slow-downs are looked for this often, while mails go out.
_LOOK_EVERY_S = 1.0
# A limit of all mails is asked again at least this often: it may be over, or higher, before its window says so.
_LONGEST_WAIT_S = 60.0


class Limiter:
    """Asks for tokens. Without any limit it grants at once, and asks once a second whether some domain is slowed."""

    def __init__(self, client: Client, care: Care) -> None:
        self._client, self._care, self._turns = client, care, Turns()
        self._slowed: Mapping[str, SlowDown] = {}
        self._looked_s, self._server_ms = float("-inf"), 0.0
        self._held: dict[str, tuple[tuple[str, ...], float]] = {}
        self._renewing: asyncio.Task[None] | None = None

    async def take(self, addresses: Sequence[str], now_s: float) -> list[Token | Wait]:
        """Asks for one token per address; answers in their order. `now_s` is read before the call."""
        if not addresses or await self.is_free(now_s):
            return [FREE] * len(addresses)
        at, server_ms = datetime.now(UTC), now_s * 1000 + self._server_ms
        wanted = [self._care.bounds_of(address, at, self._slowed, server_ms) for address in addresses]
        bounds = {bound.key: bound for each in wanted for bound in each}
        if not bounds:
            return [FREE] * len(addresses)
        names = list(bounds)
        request = new_id()
        args: list[Argument] = [request, len(names)]
        for bound in bounds.values():
            args += (bound.count, bound.span_ms)
        args += (",".join(str(names.index(bound.key) + 1) for bound in each) for each in wanted)
        replies = await scripts.run(self._client, scripts.TAKE, names, args)
        answers = zip(replies[::2], replies[1::2], strict=True)
        return [
            self._wait(bounds[names[blocking - 1]], wait_ms / 1000, now_s)
            if wait_ms
            else self._grant(f"{request}:{number}", each, now_s)
            for number, (each, (wait_ms, blocking)) in enumerate(zip(wanted, answers, strict=True))
        ]

    async def is_free(self, now_s: float) -> bool:
        """True when nothing limits any mail now, so that `take` grants all."""
        if self._care.slow_down:
            await self._look(now_s)
        return not self._slowed and not self._care.limits

    def _grant(self, name: str, bounds: Sequence[Bound], now_s: float) -> Token:
        grace_s = min((bound.grace_ms for bound in bounds), default=float("inf")) / 1000
        places = tuple(bound.key for bound in bounds if bound.comes_back)
        if places:
            self._held[name] = places, now_s
            if self._renewing is None or self._renewing.done():
                self._renewing = asyncio.create_task(self._renew(), name="mailer-places")
        return Token(name, tuple(bound.key for bound in bounds), now_s + grace_s, places)

    def _wait(self, bound: Bound, seconds: float, now_s: float) -> Wait:
        if not bound.of_domain:
            return Wait(min(seconds, _LONGEST_WAIT_S), of_domain=False)
        return Wait(self._turns.next_s(bound, seconds, now_s), of_domain=True)

    async def _look(self, now_s: float) -> None:
        if now_s - self._looked_s < _LOOK_EVERY_S:
            return
        self._slowed, server_ms = await slowing.read(self._client)
        self._looked_s, self._server_ms = now_s, server_ms - now_s * 1000
        metrics.SLOWED.set(len(self._slowed))

    async def slow_down(self, address: str) -> None:
        """The server of this address asked for fewer mails. Redis trouble leaves things as they are."""
        if not self._care.slow_down:
            return
        name = self._care.groups.of(domain_of(address))
        with redis_may_refuse():
            if await slowing.note(self._client, name, self._care.first_rate(address, FIRST)):
                metrics.SLOW_DOWNS.inc()
                logger.warning("a recipient domain asked for fewer mails; it gets fewer")
            self._looked_s = float("-inf")

    async def give_back(self, tokens: Sequence[Token]) -> None:
        """Returns tokens whose send did not start (ZREM), in one round trip."""
        await self._remove({token.name: token.limits for token in tokens})

    def abandon(self, tokens: Sequence[Token]) -> None:
        """Lets tokens lapse: Redis cannot be asked. Their places come free after a lease."""
        for token in tokens:
            self._held.pop(token.name, None)

    async def leave(self, token: Token) -> None:
        """Returns the places of a send that has ended. One that Redis does not take now comes free by itself."""
        if not token.places:
            return
        places, since_s = self._held.get(token.name, (token.places, monotonic_s()))
        for key in places:
            self._turns.took(key, monotonic_s() - since_s)
        await self._remove({token.name: token.places})

    async def _remove(self, tokens: Mapping[str, Sequence[str]]) -> None:
        held: dict[str, list[str]] = {}
        for name, limits in tokens.items():
            self._held.pop(name, None)
            for key in limits:
                held.setdefault(key, []).append(name)
        if held:
            async with self._client.pipeline(transaction=False) as pipe:
                for key, names in held.items():
                    pipe.zrem(key, *names)
                await pipe.execute()

    async def _renew(self) -> None:
        """Keeps the places of long sends, while there are any. ZADD XX adds none that was given back."""
        while self._held:
            await asyncio.sleep(self._care.lease_s / 3)
            try:
                now_ms, span_ms = await server_ms(self._client), int(self._care.lease_s * 1000)
                async with self._client.pipeline(transaction=False) as pipe:
                    for name, (places, _) in self._held.items():
                        for key in places:
                            pipe.zadd(key, {name: now_ms}, xx=True)
                            pipe.pexpire(key, span_ms + 1000)
                    await pipe.execute()
            except Exception as error:
                refused_rounds.tolerate(error, "keeping places of recipient domains")
