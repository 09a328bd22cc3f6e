"""A server that goes away in the middle of a write is Redis trouble, and never a bug that ends a service."""

from __future__ import annotations

import asyncio

import uvloop

from leadstream_events.errors import RedisCause
from leadstream_events.redis_client import classify


async def _write_on_a_closed_transport() -> Exception:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        await reader.read()
        writer.transport.abort()
        await writer.wait_closed()
        try:
            writer.writelines([b"*1\r\n$4\r\nPING\r\n"])
        except Exception as error:
            return error
    raise AssertionError("the write was taken")


def test_what_uvloop_raises_for_a_closed_connection_means_that_redis_is_down() -> None:
    error = uvloop.run(_write_on_a_closed_transport())
    found = classify(error)
    assert found is not None
    assert found.cause is RedisCause.DOWN


def test_any_other_runtime_error_is_a_bug() -> None:
    assert classify(RuntimeError("dictionary changed size during iteration")) is None
