"""The receiver as a process: killed, stopped, and started with settings that cannot work; and the pipe of an MTA."""

from __future__ import annotations

import asyncio
import json
import os
import smtplib
import subprocess
import sys
from pathlib import Path

import pytest

from leadstream_events.signing import signing_secrets
from leadstream_mail.return_path import return_path
from tests.integration.bounces.conftest import BASE, Post
from tests.support.ports import free_port
from tests.support.process import ServiceProcess
from tests.support.redis_server import RedisServer
from tests.support.report_mails import dsn
from tests.support.sent_mail import SentMail, sent_mail


async def true_path(post: Post, mail: SentMail) -> str:
    """The return path by the secret that processes find in Redis."""
    return return_path(BASE, await signing_secrets(post.client, post.settings), mail.lead_id, mail.email_id)


def environment(url: str, port: int) -> dict[str, str]:
    listen = f"127.0.0.1:{port}"
    return {"LEADSTREAM_REDIS_URL": url, "LEADSTREAM_RETURN_PATH": BASE, "LEADSTREAM_BOUNCES_LISTEN": listen}


def send(port: int, raw: bytes, to: str) -> None:
    with smtplib.SMTP("127.0.0.1", port, timeout=60.0) as client:
        client.sendmail("", [to], raw)


async def test_a_kill_between_record_and_answer_counts_nothing_twice(
    post: Post, redis_server: RedisServer, tmp_path: Path
) -> None:
    mail = await sent_mail(post.client)
    to, port = await true_path(post, mail), free_port()
    raw, env = dsn(to, mail.address, status="4.2.2"), environment(redis_server.url, port)
    dying = ServiceProcess(
        [], env=env, output=tmp_path / "dying.log", ready_line="ready",
        module="tests.integration.bounces.dying_receiver", cwd=Path(__file__).parents[3],
    )  # fmt: skip
    with dying.start(60.0), pytest.raises(smtplib.SMTPServerDisconnected):
        await asyncio.to_thread(send, port, raw, to)
    assert len(await post.told()) == 1
    with ServiceProcess(["bounces"], env=env, output=tmp_path / "b.log", ready_line="ready").start(60.0) as receiver:
        await asyncio.to_thread(send, port, raw, to)
        assert receiver.terminate() == 0
    assert len(await post.told()) == 1
    assert mail.address not in receiver.text()


def test_settings_that_cannot_work_are_named_and_end_with_2(tmp_path: Path) -> None:
    for env, says in (
        ({}, "LEADSTREAM_RETURN_PATH: set the address"),
        ({"LEADSTREAM_RETURN_PATH": BASE, "LEADSTREAM_BOUNCES_LISTEN": "off"}, "LEADSTREAM_BOUNCES_LISTEN is off"),
        ({"LEADSTREAM_BOUNCES_LISTEN": "here"}, "LEADSTREAM_BOUNCES_LISTEN: must be host:port"),
    ):
        process = ServiceProcess(["bounces"], env=env, output=tmp_path / "log", module="leadstream_cli.main")
        with process.start():
            assert process.wait(60.0) == 2
        assert says in process.text()
        process.output.unlink()


def ingest(raw: bytes, env: dict[str, str], *args: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "leadstream_cli.main", "bounce", "ingest", *args]
    return subprocess.run(command, input=raw, env=env, capture_output=True, timeout=120)


@pytest.fixture
def env(redis_server: RedisServer) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "HOME") if name in os.environ}
    return {**kept, **environment(redis_server.url, 1)}


async def test_a_pipe_takes_a_report_with_the_recipient_of_the_envelope_or_the_header(
    post: Post, env: dict[str, str], tmp_path: Path
) -> None:
    mail = await sent_mail(post.client)
    to = await true_path(post, mail)
    by_header = await asyncio.to_thread(ingest, dsn(to, mail.address), env, "-", "--json")
    assert by_header.returncode == 0, by_header.stderr
    assert json.loads(by_header.stdout) == {
        "results": ["new"], "kept": "", "suppressed": "hard bounce 5.1.1", "lead_id": mail.lead_id,
    }  # fmt: skip
    file = tmp_path / "report.eml"
    file.write_bytes(dsn("somebody@example.net", mail.address, message_id="<2@mx>"))
    unaddressed = await asyncio.to_thread(ingest, b"", env, str(file), "--json")
    assert json.loads(unaddressed.stdout)["kept"] == "unverified"
    named = await asyncio.to_thread(ingest, b"", env, str(file), "--json", "--recipient", to)
    assert json.loads(named.stdout)["results"] == ["new"]
    assert [told.source for told in await post.told()] == ["file", "file"]


async def test_a_pipe_says_not_now_while_redis_is_away_and_no_to_what_is_too_large(env: dict[str, str]) -> None:
    away = {**env, "LEADSTREAM_REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"}
    done = await asyncio.to_thread(ingest, dsn(BASE, "s@example.com"), away)
    assert (done.returncode, done.stdout) == (75, b"")
    assert b"nothing answers there" in done.stderr
    unset = {name: value for name, value in env.items() if name != "LEADSTREAM_RETURN_PATH"}
    done = await asyncio.to_thread(ingest, dsn(BASE, "s@example.com"), unset)
    assert (done.returncode, b"LEADSTREAM_RETURN_PATH: set" in done.stderr) == (75, True)
    assert (await asyncio.to_thread(ingest, b"x" * (3 << 20), env)).returncode == 65


async def test_what_is_kept_is_listed_and_shown_without_addresses_unless_asked(post: Post, env: dict[str, str]) -> None:
    await asyncio.to_thread(ingest, dsn("bounce+x@leads.example.com", "victim@example.com"), env)

    def run(*args: str) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "leadstream_cli.main", "bounces", *args]
        return subprocess.run(command, env=env, capture_output=True, timeout=120)

    (item,) = json.loads((await asyncio.to_thread(run, "list", "--json")).stdout)
    assert (item["why"], item["source"]) == ("unverified", "file")
    shown = await asyncio.to_thread(run, "show", item["entry_id"])
    assert shown.returncode == 0, shown.stderr
    assert b"hard about v***@example.com 5.1.1" in shown.stdout
    assert b"victim" not in shown.stdout + (await asyncio.to_thread(run, "list")).stdout
    raw = await asyncio.to_thread(run, "show", item["entry_id"], "--pii", "--raw")
    assert b"rfc822; victim@example.com" in raw.stdout
    assert (await asyncio.to_thread(run, "show", item["entry_id"], "--raw")).returncode == 2
    assert (await asyncio.to_thread(run, "show", "1-1")).returncode == 1
    assert (await asyncio.to_thread(run, "show", "all")).returncode == 2
