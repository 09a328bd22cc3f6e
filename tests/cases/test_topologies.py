"""Case 096: the same result on every topology that `LEADSTREAM_REDIS_URL` can name, crash recovery included."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from leadstream_cli.embedded import EmbeddedServer
from leadstream_events import keys
from leadstream_events.limits import Rate
from leadstream_events.redis_client import connect
from leadstream_events.settings import Settings
from tests.cases.pipeline import LEAD, pipeline
from tests.integration.api.conftest import api_client
from tests.support.ports import free_port
from tests.support.redis_cluster import serve_every_slot
from tests.support.redis_server import SERVERS, binary_of
from tests.support.waiting import eventually


@asynccontextmanager
async def single(binary: Path, folder: Path) -> AsyncIterator[str]:
    """One server."""
    with EmbeddedServer.start(folder / "server", binary=binary, appendfsync="no") as server:
        yield server.url


@asynccontextmanager
async def cluster(binary: Path, folder: Path) -> AsyncIterator[str]:
    """A cluster of one node that serves every slot: commands over several slots are refused as ever."""
    options = ["--cluster-enabled", "yes", "--cluster-port", str(free_port())]
    port = free_port()
    with EmbeddedServer.start(folder / "server", binary=binary, appendfsync="no", port=port, extra=options) as server:
        await serve_every_slot(server.url)
        yield f"redis+cluster://127.0.0.1:{port}"


@asynccontextmanager
async def shard(binary: Path, folder: Path) -> AsyncIterator[str]:
    """The only server of a cluster, by its own address."""
    async with cluster(binary, folder) as url:
        yield url.replace("+cluster", "")


@asynccontextmanager
async def sentinel(binary: Path, folder: Path) -> AsyncIterator[str]:
    """A server that a sentinel watches and names."""
    port, watcher = free_port(), free_port()
    config = folder / "sentinel.conf"
    with EmbeddedServer.start(folder / "server", binary=binary, appendfsync="no", port=port):
        config.write_text(f"port {watcher}\nbind 127.0.0.1\nsentinel monitor ours 127.0.0.1 {port} 1\n")
        process = await asyncio.create_subprocess_exec(
            str(binary), str(config), "--sentinel", stdout=asyncio.subprocess.DEVNULL, cwd=folder
        )
        client = connect(f"redis://127.0.0.1:{watcher}", timeout_s=5.0)

        async def named() -> bool:
            try:
                return bool(await client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "ours"))
            except RedisConnectionError:
                return False

        try:
            await eventually(named, "the sentinel to name its server")
            yield f"redis+sentinel://127.0.0.1:{watcher}/ours/0"
        finally:
            await client.aclose()
            process.kill()
            await process.wait()


TOPOLOGIES = {"single": single, "sentinel": sentinel, "cluster": cluster, "shard": shard}


@pytest.mark.parametrize("partitions", [1, 3])
@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("server", SERVERS)
async def test_leads_are_mailed_once_and_what_a_dead_worker_left_is_taken_over(
    tmp_path: Path, server: str, topology: str, partitions: int
) -> None:
    async with TOPOLOGIES[topology](binary_of(server), tmp_path) as url:
        settings = Settings(
            redis_url=url,
            data_dir=tmp_path / "data",
            rate_limit=Rate(100, 1_000),
            partitions=partitions,
            lease=0.5,
            append_deadline=5.0,
            welcome=False,
        )
        async with pipeline(settings) as house:
            await house.subscribers(2)
            for _ in range(6):
                await house.lead()
            await house.smtp.wait_for(12)
        client = connect(url, timeout_s=5.0)
        try:
            async with api_client(settings) as api:
                for _ in range(6):
                    answer = await api.post("/leads", json=LEAD)
                    assert (answer.status_code, answer.json()["mode"]) == (202, "stream")
            for number in range(partitions):
                await client.xreadgroup(keys.FANOUT, "dead", {keys.stream(number, keys.LEADS): ">"}, count=100)
        finally:
            await client.aclose()
        async with pipeline(settings) as house:
            await house.smtp.wait_for(12)
            assert sorted(house.smtp.recipients.values()) == [6, 6]
            assert set(house.smtp.message_ids.values()) == {1}
