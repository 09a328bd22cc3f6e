"""redis-py's asyncio client without what a service at work pays for and does not use.

redis-py records every command for OpenTelemetry, counts its pool up and down, announces each release, looks up field
sets, sets a clock for every reply and wraps every write into a task; together that is half of what a command costs
here. These subclasses send the same bytes over the same connections and parse replies with the same callbacks. They
leave to redis-py: connecting, logging in, TLS, transactions, Sentinel and clusters. Nothing retries: see
`redis_client.py`. Measured and weighed in docs/decisions/0026-lean-redis.md.
"""

from __future__ import annotations

from typing import Any

import hiredis
from redis._parsers.hiredis import NOT_ENOUGH_DATA
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError, ResponseError

# Above this many bytes that the socket has not taken, a write waits for it, within the socket timeout.
_HIGH_WATER = 64 * 1024

# A connection of redis-py, whose own types are not complete.
Connection = Any
# Commands as a pipeline of redis-py keeps them: arguments and options.
Stack = list[tuple[Any, Any]]


class _Lean(AbstractConnection):
    """Goes before one of redis-py's connection classes, for RESP2."""

    def pack_command(self: Connection, *args: Any) -> list[bytes]:
        """The command's bytes, by hiredis: redis-py asks it in its blocking client only."""
        name = args[0]
        words = (name.encode() if isinstance(name, str) else name).split()
        try:
            return [hiredis.pack_command((*words, *args[1:]))]
        except TypeError:  # an argument of a kind that hiredis does not know
            packed: list[bytes] = super().pack_command(*args)
            return packed

    async def send_packed_command(self: Connection, command: Any, check_health: bool = True) -> None:
        """Writes at once where the connection is there and nothing piles up on it."""
        writer = self._writer
        ready = writer is not None and self.is_connected and not self.health_check_interval
        if not ready or writer.transport.get_write_buffer_size() > _HIGH_WATER:
            await super().send_packed_command(command, check_health)
            return
        try:
            writer.write(command if isinstance(command, bytes) else b"".join(command))
        except BaseException:
            await self.disconnect(nowait=True)
            raise

    async def read_response(
        self: Connection, disable_decoding: bool = False, timeout: Any = None, **options: Any
    ) -> Any:
        """A reply that came in along with an earlier one is there already: no clock is set for it."""
        reply = NOT_ENOUGH_DATA
        if timeout is None and self.is_connected:
            reader = self._parser._reader
            reply = reader.gets(False) if disable_decoding else reader.gets()
        if reply is NOT_ENOUGH_DATA:
            return await super().read_response(disable_decoding, timeout, **options)
        if isinstance(reply, ResponseError):
            raise reply
        if isinstance(reply, RedisError):
            await self.disconnect(nowait=True)
            raise reply
        return reply


class LeanPool(ConnectionPool):
    """Hands connections out as redis-py's pool does, without counting them for others."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        plain = self.connection_class
        self.connection_class = type(plain.__name__, (_Lean, plain), {})

    async def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> Connection:
        """Returns a connection that is ready to send; raises as connecting does."""
        connection: Connection = self.get_available_connection()  # type: ignore[no-untyped-call]
        try:
            if not connection.is_connected or await connection.can_read():
                await self.ensure_connection(connection)
        except BaseException:
            await self.release(connection)
            raise
        return connection

    async def release(self, connection: Connection) -> None:
        """Takes a connection back."""
        self._in_use_connections.remove(connection)
        if connection.should_reconnect():
            await connection.disconnect()
        self._available_connections.append(connection)


class LeanRedis(Redis):
    """A client whose commands and pipelines take the short way."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Sends one command and returns its parsed reply."""
        if self.connection is not None or self.single_connection_client:
            return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        pool: Any = self.connection_pool
        connection = await pool.get_connection()
        try:
            await connection.send_packed_command(connection.pack_command(*args))
            return await self.parse_response(connection, args[0], **options)
        finally:
            await pool.release(connection)

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        """A pipeline of this client; without a transaction it takes the short way."""
        if transaction:
            return super().pipeline(transaction, shard_hint)
        return LeanPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)


class LeanPipeline(Pipeline):
    """Commands that go out in one write."""

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Returns the replies in order; errors of single commands among them, unless `raise_on_error`."""
        stack = self.command_stack
        if not stack or self.scripts or self.explicit_transaction or self.watching:
            return await super().execute(raise_on_error)
        try:
            replies = await self._ask(stack)
            if raise_on_error:
                self.raise_first_error(stack, replies)
            return replies
        finally:
            await self.reset()  # type: ignore[no-untyped-call]

    async def _ask(self, stack: Stack) -> list[Any]:
        """The replies in order, errors of single commands among them."""
        pool: Any = self.connection_pool
        self.connection = connection = self.connection or await pool.get_connection()
        await connection.send_packed_command(connection.pack_commands([args for args, _ in stack]))
        replies: list[Any] = []
        for args, options in stack:
            try:
                replies.append(await self.parse_response(connection, args[0], **options))
            except ResponseError as error:
                replies.append(error)
        return replies
