"""Group commit: one task pipelines the script calls that concurrent callers hand it.

While one pipeline is under way, the next batch gathers. A caller learns the answer to its own call, or that it did
not come before the deadline; in the latter case the call may have been carried out all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from redis.exceptions import NoScriptError, ResponseError

from leadstream_events.effects import Argument
from leadstream_events.errors import Backpressure, RedisCause
from leadstream_events.redis_client import Client, classify
from leadstream_events.scripts import Script
from leadstream_events.tasks import end

MAX_BATCH = 256
_COMPANY = 8  # calls in a batch from which on it is worth waiting for the next ones
# For callers that will ask again: longer than the socket timeout of their client, whose own error comes first.
SCRIPT_DEADLINE_S = 10.0

_Call = tuple[Script, Sequence[str], Sequence[Argument], "asyncio.Future[Any]"]


def _give_up(future: asyncio.Future[Any]) -> None:
    if not future.done():
        future.set_exception(Backpressure(RedisCause.TIMEOUT, "no answer within the deadline"))


class PipelinedWriter:
    """Runs scripts for many callers at once. Start it with `async with`.

    `gather_s`: how long the first call of a batch waits for others while many come: one call costs much the same as
    ten, and where few come waiting only makes them late.
    """

    def __init__(self, client: Client, gather_s: float = 0.0) -> None:
        self._client, self._gather_s = client, gather_s
        self._waiting: list[_Call] = []
        self._crowded = False  # since the last wait a batch was large
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> PipelinedWriter:
        self._task = asyncio.create_task(self._run(), name="pipelined-writer")
        return self

    async def __aexit__(self, *_: object) -> None:
        await end(self._task)

    async def call(self, script: Script, keys: Sequence[str], args: Sequence[Argument], *, deadline_s: float) -> Any:
        """Returns the script's reply; raises `Backpressure` when there is none within `deadline_s` seconds.

        A call that was not sent yet at its deadline is dropped. One that was sent may still take effect.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._waiting.append((script, keys, args, future))
        self._wake.set()
        deadline = loop.call_later(deadline_s, _give_up, future)
        try:
            return await future
        finally:
            deadline.cancel()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            # At 0 whoever else is ready in this turn of the loop comes along.
            await asyncio.sleep(self._gather_s if self._crowded else 0)
            self._crowded = False
            while self._waiting:
                self._crowded = self._crowded or len(self._waiting) >= _COMPANY
                batch = [call for call in self._waiting[:MAX_BATCH] if not call[3].done()]
                del self._waiting[:MAX_BATCH]
                if batch:
                    await self._send(batch)

    async def _send(self, batch: list[_Call]) -> None:
        try:
            replies = await self._pipeline(batch, by_sha=True)
            forgotten = [call for call, reply in zip(batch, replies, strict=True) if isinstance(reply, NoScriptError)]
            if forgotten:
                again = iter(await self._pipeline(forgotten, by_sha=False))
                replies = [next(again) if isinstance(reply, NoScriptError) else reply for reply in replies]
        except Exception as error:
            cause = classify(error) or error
            replies = [cause] * len(batch)
        for (_, _, _, future), reply in zip(batch, replies, strict=True):
            if future.done():
                continue
            if isinstance(reply, BaseException):
                future.set_exception(classify(reply) or reply)
            else:
                future.set_result(reply)

    async def _pipeline(self, batch: list[_Call], *, by_sha: bool) -> list[Any]:
        if len(batch) == 1:  # a pipeline of one costs twice as much as a command
            script, keys, args, _ = batch[0]
            verb, what = ("EVALSHA", script.sha) if by_sha else ("EVAL", script.text)
            try:
                return [await self._client.execute_command(verb, what, len(keys), *keys, *args)]
            except ResponseError as error:  # as a pipeline reports the error of one command
                return [error]
        async with self._client.pipeline(transaction=False) as pipe:
            for script, keys, args, _ in batch:
                # Not `pipe.evalsha`, which redis-py refuses on a cluster although it routes the command by its keys.
                verb, what = ("EVALSHA", script.sha) if by_sha else ("EVAL", script.text)
                pipe.execute_command(verb, what, len(keys), *keys, *args)
            replies: list[Any] = await pipe.execute(raise_on_error=False)
            return replies
