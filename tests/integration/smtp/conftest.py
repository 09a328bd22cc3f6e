"""Real sockets on both sides: the pool under test and the fault server."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from leadstream_mail.smtp.outcome import Outcome
from leadstream_mail.smtp.pool import SmtpPool
from tests.support.smtp_server import Script, SmtpServer
from tests.unit.mailer.mails import NOW, a_lead, prepared

FROM = "leads@example.com"
PREPARED = prepared(a_lead())


def a_mail(number: int = 1, address: str | None = None) -> Any:
    return PREPARED.for_recipient(
        name=None, address=address or f"s{number}@example.com", message_id=f"<{number}@example.com>", date=NOW
    )


async def yes() -> bool:
    return True


class Rig:
    """A fault server and a pool that talks to it; `before` counts how often the caller was asked."""

    def __init__(self, server: SmtpServer, pool: SmtpPool) -> None:
        self.server, self.pool, self.before = server, pool, 0

    async def send(self, number: int = 1, address: str | None = None) -> Outcome:
        return await self.pool.send(FROM, a_mail(number, address), self._before)

    async def send_many(self, numbers: range) -> list[Outcome]:
        return await asyncio.gather(*(self.send(number) for number in numbers))

    async def _before(self) -> bool:
        self.before += 1
        return True


MakeRig = Callable[..., Awaitable[Rig]]


@asynccontextmanager
async def _rig(script: Script | None, url: dict[str, str], options: dict[str, Any]) -> AsyncIterator[Rig]:
    async with SmtpServer(script) as server:
        settings = {"connections": 1, "timeout_s": 5.0, "data_timeout_s": 5.0, **options}
        pool = SmtpPool(server.url(**url), **settings)
        try:
            yield Rig(server, pool)
        finally:
            await pool.close()


@pytest.fixture
async def rig() -> AsyncIterator[MakeRig]:
    """Makes rigs: `await rig(Script(...), url={...}, connections=8)`."""
    async with AsyncExitStack() as stack:

        async def make(script: Script | None = None, url: dict[str, str] | None = None, **options: Any) -> Rig:
            return await stack.enter_async_context(_rig(script, url or {}, options))

        yield make


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-made certificate for 127.0.0.1 and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl command to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(key), "-out", str(cert), "-days", "2", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


@pytest.fixture
def server_tls(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


@pytest.fixture
def client_tls(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate[0]))
