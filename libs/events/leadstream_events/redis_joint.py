"""What several tasks ask Redis in one turn of the loop, in one round trip.

Three questions asked side by side are three writes, each of which wakes Redis, and three replies, each of which wakes
us. Where little happens that is most of what they cost, and a lead's way through a service has several such places.
"""

from __future__ import annotations

import asyncio
from typing import Any

from redis.asyncio.client import Pipeline

from leadstream_events.redis_client import Client
from leadstream_events.redis_lean import LeanPipeline, LeanRedis, Stack


def joint(client: Client) -> Client:
    """A client on the same connections whose commands and pipelines of one turn of the loop go out together.

    For questions that are asked side by side (`asyncio.gather`); whoever asks alone waits one turn longer. What
    breaks the connection is told to all who asked, errors of single commands only to whoever asked them. It needs no
    closing. A cluster's or a Sentinel's client is returned as it is.
    """
    return _JointRedis(client) if isinstance(client, LeanRedis) else client


class _JointRedis(LeanRedis):
    def __init__(self, client: LeanRedis) -> None:
        super().__init__(connection_pool=client.connection_pool)
        self.response_callbacks = client.response_callbacks
        self._asked: list[tuple[Stack, asyncio.Future[list[Any]]]] = []
        self._trips: set[asyncio.Task[None]] = set()

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Sends one command and returns its parsed reply."""
        (reply,) = await self.ask([(args, options)])
        if isinstance(reply, Exception):
            raise reply
        return reply

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        """A pipeline of this client; without a transaction it shares its round trip."""
        if transaction:
            return super().pipeline(transaction, shard_hint)
        return _JointPipeline(self, shard_hint)

    async def ask(self, stack: Stack) -> list[Any]:
        """The replies in order, errors of single commands among them."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[Any]] = loop.create_future()
        if not self._asked:
            loop.call_soon(self._go)
        self._asked.append((stack, answer))
        return await answer

    def _go(self) -> None:
        asked, self._asked = self._asked, []
        trip = asyncio.create_task(self._send(asked))  # not of one asker, whose end must not be that of the others
        self._trips.add(trip)
        trip.add_done_callback(self._trips.discard)

    async def _send(self, asked: list[tuple[Stack, asyncio.Future[list[Any]]]]) -> None:
        try:
            pipe = super().pipeline(transaction=False)
            pipe.command_stack = [command for stack, _ in asked for command in stack]
            replies = iter(await pipe.execute(raise_on_error=False))
        except Exception as error:
            for _, answer in asked:
                if not answer.done():
                    answer.set_exception(error)
            return
        for stack, answer in asked:
            own = [next(replies) for _ in stack]
            if not answer.done():
                answer.set_result(own)


class _JointPipeline(LeanPipeline):
    """Commands that go out in one write, with those of others."""

    def __init__(self, client: _JointRedis, shard_hint: str | None) -> None:
        super().__init__(client.connection_pool, client.response_callbacks, False, shard_hint)
        self._client = client

    async def _ask(self, stack: Stack) -> list[Any]:
        return await self._client.ask(stack)
