"""Writes down that contents are about to go out, for all mails that have come so far at the same time.

While one script is under way the next mails gather; so a note costs little more than its arguments.
"""

from __future__ import annotations

import asyncio
from typing import Any

from leadstream_events import scripts
from leadstream_events.effects import Argument
from leadstream_events.redis_client import classify
from leadstream_events.writer import PipelinedWriter

_DEADLINE_S = 5.0

_Note = tuple[str, str, int, "asyncio.Future[bool | None]"]


class PhaseNotes:
    """Notes phases in the name of `owner`, through `lua/phase.lua`."""

    def __init__(self, writer: PipelinedWriter, owner: str) -> None:
        self._writer, self._owner = writer, owner
        self._waiting: list[_Note] = []
        self._task: asyncio.Task[None] | None = None

    async def note(self, ledger: str, email_id: str, attempt: int) -> bool | None:
        """True when it is written and the mail is ours; only then may the content go out.

        False when the mail is somebody else's by now. None when Redis did not say within 5 s: it may be written.
        """
        future: asyncio.Future[bool | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((ledger, email_id, attempt, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write_all(), name="phase-notes")
        return await future

    async def _write_all(self) -> None:
        while self._waiting:
            batch, self._waiting = [item for item in self._waiting if not item[3].done()], []
            if batch:
                await self._write(batch)

    async def _write(self, batch: list[_Note]) -> None:
        numbers: dict[str, int] = {}
        args: list[Argument] = [self._owner, "data"]
        for ledger, email_id, attempt, _ in batch:
            args += (numbers.setdefault(ledger, len(numbers) + 1), email_id, attempt)
        try:
            replies: Any = await self._writer.call(scripts.PHASE, list(numbers), args, deadline_s=_DEADLINE_S)
        except BaseException as error:
            for _, _, _, future in batch:
                if future.done():
                    continue
                if classify(error) is None and isinstance(error, Exception):
                    future.set_exception(error)
                else:
                    future.set_result(None)
            if not isinstance(error, Exception):
                raise
            return
        for (_, _, _, future), reply in zip(batch, replies, strict=True):
            if not future.done():
                future.set_result(bool(reply == 1))
