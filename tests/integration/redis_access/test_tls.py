"""TLS to Redis, through every kind of URL. The bundled Valkey is built without TLS, so these need a redis-server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from leadstream_cli.embedded import EmbeddedServer
from leadstream_events import keys, scripts
from leadstream_events.errors import Backpressure, ConfigurationError, RedisCause
from leadstream_events.redis_access import RedisAccess
from leadstream_events.redis_client import classify, connect
from tests.integration.cli.conftest import Cli
from tests.support.ports import free_port
from tests.support.process import ServiceProcess
from tests.support.redis_cluster import serve_every_slot
from tests.support.redis_server import REDIS7, binary_of
from tests.support.tls import Authority, Pair
from tests.support.waiting import eventually

TLS_MEND = "LEADSTREAM_REDIS_CA_FILE"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki")


def tls_options(authority: Authority, pair: Pair, port: int, *, clients: str = "no") -> list[str]:
    """A server's options; `clients` is whether it asks them for a certificate."""
    options = {
        "tls-port": str(port),
        "tls-cert-file": str(pair.certificate),
        "tls-key-file": str(pair.key),
        "tls-ca-cert-file": str(authority.certificate),
        "tls-auth-clients": clients,
    }
    return [part for name, value in options.items() for part in (f"--{name}", value)]


@pytest.fixture
def port(tmp_path: Path, authority: Authority) -> Iterator[int]:
    """The TLS port of a server that asks for no certificate."""
    chosen = free_port()
    extra = tls_options(authority, authority.pair("server"), chosen)
    with EmbeddedServer.start(tmp_path / "server", binary=binary_of(REDIS7), appendfsync="no", extra=extra):
        yield chosen


@asynccontextmanager
async def sentinel(tmp_path: Path, authority: Authority) -> AsyncIterator[str]:
    pair, port, watcher = authority.pair("server"), free_port(), free_port()
    folder = tmp_path / "sentinel"
    folder.mkdir()
    config = folder / "sentinel.conf"
    lines = [part.removeprefix("--") for part in tls_options(authority, pair, watcher)]
    settings = "\n".join(f"{name} {value}" for name, value in zip(lines[::2], lines[1::2], strict=True))
    config.write_text(
        f"port 0\nbind 127.0.0.1\n{settings}\ntls-replication yes\nsentinel monitor ours 127.0.0.1 {port} 1\n"
    )
    extra = [*tls_options(authority, pair, port), "--tls-replication", "yes"]
    with EmbeddedServer.start(tmp_path / "server", binary=binary_of(REDIS7), appendfsync="no", extra=extra):
        process = await asyncio.create_subprocess_exec(
            str(binary_of(REDIS7)), str(config), "--sentinel", stdout=asyncio.subprocess.DEVNULL, cwd=folder
        )
        url = f"rediss+sentinel://127.0.0.1:{watcher}/ours/0"
        client = connect(RedisAccess(url, ca_file=authority.certificate), timeout_s=5.0)

        async def named() -> bool:
            try:
                return bool(await client.ping())
            except Exception as error:
                assert (classify(error) or Backpressure(RedisCause.OTHER)).cause is RedisCause.DOWN
                return False

        try:
            await eventually(named, "the sentinel to name its server")
            yield url
        finally:
            await client.aclose()
            process.kill()
            await process.wait()


@asynccontextmanager
async def cluster(tmp_path: Path, authority: Authority) -> AsyncIterator[str]:
    port = free_port()
    extra = [*tls_options(authority, authority.pair("server"), port), "--tls-cluster", "yes"]
    extra += ["--cluster-enabled", "yes", "--cluster-port", str(free_port())]
    with EmbeddedServer.start(tmp_path / "server", binary=binary_of(REDIS7), appendfsync="no", extra=extra) as server:
        await serve_every_slot(server.url)
        yield f"rediss+cluster://127.0.0.1:{port}"


@asynccontextmanager
async def single(tmp_path: Path, authority: Authority) -> AsyncIterator[str]:
    port = free_port()
    extra = tls_options(authority, authority.pair("server"), port)
    with EmbeddedServer.start(tmp_path / "server", binary=binary_of(REDIS7), appendfsync="no", extra=extra):
        yield f"rediss://127.0.0.1:{port}/0"


@pytest.mark.parametrize("topology", [single, cluster, sentinel])
async def test_verbs_work_over_tls_by_every_kind_of_url_and_a_stranger_is_not_trusted(
    tmp_path: Path, authority: Authority, topology: object
) -> None:
    assert callable(topology)
    async with topology(tmp_path, authority) as url:
        client = connect(RedisAccess(url, ca_file=authority.certificate), timeout_s=5.0)
        reply = await scripts.run(client, scripts.SLOW, [keys.SLOW], ["a.example", 60, 1, 1, 60, 1000])
        await client.aclose()
        assert reply == 1
        stranger = Authority(tmp_path / "strangers")
        client = connect(RedisAccess(url, ca_file=stranger.certificate), timeout_s=5.0)
        with pytest.raises(Exception) as refused:
            await client.ping()
        await client.aclose()
        if topology is not sentinel:  # redis-py says there only that no sentinel answered
            assert classify(refused.value) is not None
            assert (classify(refused.value) or Backpressure(RedisCause.OTHER)).cause is RedisCause.TLS


async def test_a_server_that_asks_for_a_certificate_gets_it_and_refuses_others(
    tmp_path: Path, authority: Authority
) -> None:
    port, pair = free_port(), authority.pair("client")
    extra = tls_options(authority, authority.pair("server"), port, clients="yes")
    with EmbeddedServer.start(tmp_path / "server", binary=binary_of(REDIS7), appendfsync="no", extra=extra):
        url = f"rediss://127.0.0.1:{port}/0"
        shown = RedisAccess(url, ca_file=authority.certificate, cert_file=pair.certificate, key_file=pair.key)
        client = connect(shown, timeout_s=5.0)
        assert await client.ping()
        await client.aclose()

        # TLS 1.3 refuses a client after its handshake: what arrives first is the alert, or the end of the connection.
        async def told_why() -> bool:
            client = connect(RedisAccess(url, ca_file=authority.certificate), timeout_s=5.0)
            with pytest.raises(Exception) as refused:
                await client.ping()
            await client.aclose()
            cause = (classify(refused.value) or Backpressure(RedisCause.OTHER)).cause
            assert cause in (RedisCause.TLS, RedisCause.DOWN)
            return cause is RedisCause.TLS

        await eventually(told_why, "the refusal to be told as one of TLS")


def test_a_wrong_authority_is_one_clear_line_with_the_mend(
    port: int, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEADSTREAM_REDIS_URL", f"rediss://127.0.0.1:{port}/0")
    monkeypatch.setenv("LEADSTREAM_REDIS_CA_FILE", str(Authority(tmp_path / "strangers").certificate))
    told = cli("streams", code=1).err
    assert told.count("\n") == 1
    assert "(tls)" in told and TLS_MEND in told
    found = cli("doctor", code=3).out
    assert "(tls)" in found and TLS_MEND in found
    monkeypatch.setenv("LEADSTREAM_REDIS_CA_FILE", str(tmp_path / "pki/ca.pem"))
    cli("streams")


def test_a_service_says_why_it_waits_and_what_to_do(port: int, tmp_path: Path) -> None:
    env = {
        "LEADSTREAM_REDIS_URL": f"rediss://127.0.0.1:{port}/0",
        "LEADSTREAM_REDIS_CA_FILE": str(Authority(tmp_path / "strangers").certificate),
        "LEADSTREAM_DATA_DIR": str(tmp_path / "data"),
    }
    with ServiceProcess(["fanout"], env=env, output=tmp_path / "fanout.log", ready_line="waiting for redis") as service:
        line = next(line for line in service.text().splitlines() if "waiting for redis" in line)
        assert "cause=tls" in line and TLS_MEND in line
        assert service.terminate() == 0


@pytest.mark.parametrize("setting", ["ca_file", "cert_file"])
def test_a_file_that_is_not_there_or_no_certificate_is_named(tmp_path: Path, setting: str) -> None:
    broken = tmp_path / "broken.pem"
    for reason in ("No such file or directory", "no matching PEM"):
        with pytest.raises(ConfigurationError, match=f"LEADSTREAM_REDIS_{setting.upper()} cannot be used: {reason}"):
            connect(RedisAccess("rediss://127.0.0.1:1/0", **{setting: broken}), timeout_s=1.0)  # type: ignore[arg-type]
        broken.write_text("no PEM")
