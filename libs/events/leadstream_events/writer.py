"""Group commit: one task pipelines the script calls that concurrent callers hand it.

While one pipeline is under way, the next batch gathers. A caller learns the answer to its own call, or that it did
not come before the deadline; in the latter case the call may have been carried out all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from redis.exceptions import NoScriptError

from leadstream_events.effects import Argument
from leadstream_events.errors import Backpressure, RedisCause
from leadstream_events.redis_client import Client, classify
from leadstream_events.scripts import Script
from leadstream_events.tasks import end

MAX_BATCH = 256

_Call = tuple[Script, Sequence[str], Sequence[Argument], "asyncio.Future[Any]"]


class PipelinedWriter:
    """Runs scripts for many callers at once. Start it with `async with`."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._waiting: list[_Call] = []
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
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((script, keys, args, future))
        self._wake.set()
        try:
            async with asyncio.timeout(deadline_s):
                return await future
        except TimeoutError:
            raise Backpressure(RedisCause.TIMEOUT, "no answer within the deadline") from None

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await asyncio.sleep(0)  # whoever else is ready in this turn of the loop comes along
            while self._waiting:
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
        async with self._client.pipeline(transaction=False) as pipe:
            for script, keys, args, _ in batch:
                # Not `pipe.evalsha`, which redis-py refuses on a cluster although it routes the command by its keys.
                verb, what = ("EVALSHA", script.sha) if by_sha else ("EVAL", script.text)
                pipe.execute_command(verb, what, len(keys), *keys, *args)
            replies: list[Any] = await pipe.execute(raise_on_error=False)
            return replies
