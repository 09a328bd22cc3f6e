"""Each service, installed from only its own requirement file in an empty environment, works with the others."""

from __future__ import annotations

import asyncio
import json
import smtplib
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from leadstream_cli.embedded import EmbeddedServer
from leadstream_events import keys
from leadstream_events.redis_client import connect
from tests.integration.deploy.installing import InstalledHouse, build, require_package_index
from tests.support.house import House
from tests.support.ports import free_port
from tests.support.report_mails import dsn
from tests.support.waiting import eventually, eventually_sync
from tests.unit.deploy.dockerfile import ROOT
from tests.unit.test_requirements import blocks, normal

SERVICES = ("api", "mailer", "projections", "archiver", "bounces")
RETURN_PATH = "bounce@leads.example.com"
OWN = {
    "api": {"leadstream_events", "leadstream_mail", "leadstream_archive", "leadstream_api"},
    "mailer": {"leadstream_events", "leadstream_mail", "leadstream_mailer"},
    "projections": {"leadstream_events", "leadstream_archive", "leadstream_projections"},
    "archiver": {"leadstream_events", "leadstream_archive", "leadstream_archiver"},
    "bounces": {"leadstream_events", "leadstream_mail", "leadstream_bounces"},
}
_LIST = """
import importlib.metadata, json, pkgutil
found = sorted(item.name for item in pkgutil.iter_modules() if item.name.startswith("leadstream"))
print(json.dumps([found, {item.metadata["Name"]: item.version for item in importlib.metadata.distributions()}]))
"""


@pytest.mark.slow
async def test_each_service_from_only_its_own_requirement_file_does_its_work_together_with_the_others(
    tmp_path: Path,
) -> None:
    require_package_index(tmp_path)
    with ThreadPoolExecutor(len(SERVICES)) as pool:
        made = dict(zip(SERVICES, pool.map(lambda name: build(name, tmp_path / name), SERVICES), strict=True))
    for service, python in made.items():
        _holds_only_its_own(service, python)
    port = free_port()
    env = {
        "LEADSTREAM_ARCHIVE_URL": str(tmp_path / "archive"),
        "LEADSTREAM_RETAIN": "1s",
        "LEADSTREAM_RETURN_PATH": RETURN_PATH,
        "LEADSTREAM_BOUNCES_LISTEN": f"127.0.0.1:{port}",
    }
    with InstalledHouse(tmp_path / "house", made.__getitem__, **env) as house:
        house.add("bounces", "bounces", ["bounces"])
        await asyncio.to_thread(house.start)
        await house.add_subscribers(3)
        leads = await house.post_leads(5)
        await house.settled(leads)
        report = await house.verify(leads)
        assert (report.accepted, sum(house.inbox.copies().values())) == (5, 5 * 4)
        assert not (report.lost or report.doubled or report.strangers or report.differences), str(report)
        await _a_mail_comes_back(house, port)
        house.add("archiver", "archiver", ["archiver"])  # last: a bounce finds no mail that was trimmed
        await asyncio.to_thread(house.processes["archiver"].start)
        await _everything_is_archived_and_still_read(house, leads[0])
        _run_by_their_own(house, made)
        for name in house.processes:
            assert _health(house, name) == (0, ""), f"{name} is not healthy"
        ends = {name: await asyncio.to_thread(process.terminate) for name, process in house.processes.items()}
        assert set(ends.values()) == {0}, ends
        assert _health(house, "api")[0] == 1


async def _a_mail_comes_back(house: House, port: int) -> None:
    """As a mail server would return it: to the envelope sender of that very mail."""
    mail = next(each for each in house.inbox.get("/messages") if each["to"] == ["s0@example.com"])

    def deliver() -> None:
        with smtplib.SMTP("127.0.0.1", port, timeout=60.0) as client:
            client.sendmail("", [mail["from"]], dsn(mail["from"], mail["to"][0]))

    await asyncio.to_thread(deliver)

    async def counted() -> bool:
        async with httpx.AsyncClient(base_url=house.base, trust_env=False, timeout=60.0) as api:
            return bool((await api.get("/stats")).json()["bounced"] == 1)

    await eventually(counted, "the bounce to be counted", 60.0)


async def _everything_is_archived_and_still_read(house: House, lead: str) -> None:
    client = connect(house.server.url, timeout_s=30.0)
    try:

        async def trimmed() -> bool:
            return bool(await client.xlen(keys.stream(0, keys.LEADS)) == 0)

        await eventually(trimmed, "the leads to be archived and trimmed", 90.0)
    finally:
        await client.aclose()
    async with httpx.AsyncClient(base_url=house.base, trust_env=False, timeout=60.0) as api:
        assert (await api.get(f"/leads/{lead}")).json()["lead"]["full_name"].startswith("Visitor ")


def _run_by_their_own(house: House, made: Mapping[str, Path]) -> None:
    """Each process is the interpreter of its own environment, and not one of the tests'."""
    for name, process in house.processes.items():
        image = "mailer" if name.startswith("mailer") or name == "fanout" else name
        command = Path(f"/proc/{process.pid}/cmdline").read_bytes().decode().split("\0")
        assert str(made[image]) in command, f"{name}: {command}"


@pytest.mark.slow
def test_the_command_line_image_makes_the_key_that_the_api_asks_for(tmp_path: Path) -> None:
    require_package_index(tmp_path)
    python = build("cli", tmp_path / "cli")
    keys = tmp_path / "api-keys"
    command = [str(python), "-P", "-m", "leadstream_cli.main", "keys", "add", "me", "--scope", "admin", "--json"]
    env = {"LEADSTREAM_API_KEYS_FILE": str(keys), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    secret = json.loads(done.stdout)["key"]
    assert secret.startswith("ls_") and secret not in keys.read_text()


@pytest.mark.slow
def test_the_bounce_receiver_runs_from_only_its_own_requirement_file(tmp_path: Path) -> None:
    require_package_index(tmp_path)
    python = build("bounces", tmp_path / "bounces")
    _holds_only_its_own("bounces", python)
    command = [str(python), "-P", "-m", "leadstream_bounces"]
    done = subprocess.run(
        command, env={"PATH": "/usr/bin:/bin"}, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr.startswith("leadstream bounces: LEADSTREAM_RETURN_PATH: set the address"), done.stderr
    server = EmbeddedServer.start(tmp_path / "redis", appendfsync="no")
    env = {
        "PATH": "/usr/bin:/bin",
        "LEADSTREAM_REDIS_URL": server.url,
        "LEADSTREAM_RETURN_PATH": "bounce@leads.example.com",
        "LEADSTREAM_BOUNCES_LISTEN": f"127.0.0.1:{free_port()}",
    }
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=env, cwd=tmp_path, stderr=output)
    try:
        eventually_sync(lambda: "ready" in log.read_text(), "the receiver to be ready", 60.0)
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()
        server.stop()


def _holds_only_its_own(service: str, python: Path) -> None:
    """What is importable and installed is what the requirement file pins, and the service's own packages."""
    done = subprocess.run([python, "-I", "-c", _LIST], capture_output=True, text=True, check=True, timeout=60)
    packages, distributions = json.loads(done.stdout)
    assert set(packages) == OWN[service]
    versions = {normal(name): version for name, version in distributions.items()}
    assert versions.pop("leadstream")
    pinned = {name: version for name, (version, _) in blocks(ROOT / "requirements" / f"{service}.txt").items()}
    assert versions.items() <= pinned.items()
    assert "pip" not in versions


def _health(house: House, name: str) -> tuple[int, str]:
    kind = "http" if name == "api" else "heartbeat"
    env = {"LEADSTREAM_API_PORT": str(house.port), "LEADSTREAM_HEARTBEAT_FILE": str(house.folder / f"{name}.alive")}
    command = [sys.executable, "-I", "-S", str(ROOT / "deploy/healthcheck.py"), kind]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=30)
    return done.returncode, done.stderr
