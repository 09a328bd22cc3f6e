"""A proxy between a client and a Redis server that loses, holds and cuts what it is told to.

It reads RESP2 (redis.io, "Redis serialization protocol") on both sides, so that it knows which reply answers which
command. A rule that has been used up does nothing any more; without rules everything passes.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto
from types import TracebackType
from urllib.parse import urlsplit

from tests.support.waiting import DEADLINE_S


class Fault(Enum):
    """What happens to a matching command or its reply."""

    DROP_REQUEST = auto()  # the server never sees it
    DROP_REPLY = auto()  # carried out; the client hears nothing, and its connection stays
    CUT_REPLY = auto()  # carried out; the connection is closed instead of the answer
    HOLD_REPLY = auto()  # carried out; the answer comes once `release()` was called


@dataclass(eq=False)
class Rule:
    """Strikes commands that hold every one of `needles`, whose reply holds `reply_has`, `times` times."""

    fault: Fault
    needles: tuple[bytes, ...]
    reply_has: bytes = b""
    times: float = 1
    struck: int = 0
    _hit: asyncio.Event = field(default_factory=asyncio.Event)
    _released: asyncio.Event = field(default_factory=asyncio.Event)

    def release(self) -> None:
        """Lets held replies go."""
        self._released.set()

    def matches(self, command: bytes) -> bool:
        """True while the rule has strikes left and the command is one of its kind."""
        return self.times > self.struck and all(needle in command for needle in self.needles)

    def strike(self) -> None:
        """Counts one strike."""
        self.struck += 1
        self._hit.set()

    async def hit(self, within_s: float = DEADLINE_S) -> None:
        """Returns once the rule has struck; TimeoutError when it does not."""
        async with asyncio.timeout(within_s):
            await self._hit.wait()

    async def released(self) -> None:
        """Waits for `release()`."""
        await self._released.wait()


async def read_value(reader: asyncio.StreamReader) -> bytes:
    """One RESP2 value, as the bytes it is made of."""
    line = await reader.readuntil(b"\r\n")
    if line[:1] == b"$" and int(line[1:]) >= 0:
        return line + await reader.readexactly(int(line[1:]) + 2)
    if line[:1] == b"*":
        return line + b"".join([await read_value(reader) for _ in range(max(0, int(line[1:])))])
    return line


class RedisProxy:
    """Listens on a free port of 127.0.0.1; use it with `async with`."""

    def __init__(self, upstream_url: str) -> None:
        self._upstream = urlsplit(upstream_url)
        self._rules: list[Rule] = []
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where clients connect to."""
        assert self._server is not None, "the proxy is not running"
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"

    def on(self, fault: Fault, *needles: bytes, reply_has: bytes = b"", times: float = 1) -> Rule:
        """Adds a rule; `times` may be `math.inf`."""
        rule = Rule(fault, needles, reply_has, times)
        self._rules.append(rule)
        return rule

    def swallow_everything(self) -> Rule:
        """From now on nothing reaches the server, and no connection says so."""
        return self.on(Fault.DROP_REQUEST, times=math.inf)

    def mend(self) -> None:
        """Forgets every rule and lets held replies go."""
        for rule in self._rules:
            rule.release()
        self._rules.clear()

    async def __aenter__(self) -> RedisProxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for link in self._links:
            link.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._upstream.scheme == "unix":
            return await asyncio.open_unix_connection(self._upstream.path)
        return await asyncio.open_connection(self._upstream.hostname, self._upstream.port)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = asyncio.current_task()
        assert link is not None
        self._links.add(link)
        try:
            await self._link(reader, writer)
        except (ConnectionError, OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._links.discard(link)
            writer.close()

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await self._connect()
        expected: deque[Rule | None] = deque()
        ways = [
            asyncio.create_task(self._requests(reader, up_writer, expected)),
            asyncio.create_task(self._replies(up_reader, writer, expected)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            up_writer.close()

    async def _requests(
        self, reader: asyncio.StreamReader, upstream: asyncio.StreamWriter, expected: deque[Rule | None]
    ) -> None:
        while True:
            command = await read_value(reader)
            rule = next((rule for rule in self._rules if rule.matches(command)), None)
            if rule and rule.fault is Fault.DROP_REQUEST:
                rule.strike()
                continue
            expected.append(rule)
            upstream.write(command)
            with contextlib.suppress(ConnectionError):
                await upstream.drain()

    async def _replies(
        self, upstream: asyncio.StreamReader, writer: asyncio.StreamWriter, expected: deque[Rule | None]
    ) -> None:
        while True:
            reply = await read_value(upstream)
            rule = expected.popleft() if expected else None
            if rule and rule.reply_has in reply and rule.times > rule.struck:
                rule.strike()
                if rule.fault is Fault.CUT_REPLY:
                    return
                if rule.fault is Fault.DROP_REPLY:
                    continue
                await rule.released()
            writer.write(reply)
            await writer.drain()
