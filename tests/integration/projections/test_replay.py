"""Replaying and rebuilding a whole history sends nothing, and a replay says what would be different today."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from leadstream_archive.archive import Archive
from leadstream_archive.stores import DiskStore
from leadstream_cli.main import run
from leadstream_events import keys
from leadstream_events.settings import Settings
from tests.cases.pipeline import pipeline
from tests.integration.cli.conftest import environment
from tests.integration.projections.running import projecting
from tests.integration.projections.scan import GROUPS, all_finished
from tests.integration.projections.test_rebuild import archived
from tests.support.waiting import eventually


@pytest.fixture
def cli(settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.setenv("LEADSTREAM_REDIS_URL", settings.redis_url)
    monkeypatch.setenv("LEADSTREAM_WELCOME", "false")

    async def call(*args: str) -> tuple[int, Any]:
        capsys.readouterr()
        code = await asyncio.to_thread(run, (*args, "--json"))
        out, err = capsys.readouterr()
        return code, json.loads(out) if out else err

    return call


REPLAY = ("replay", "--since", "1d", "--handler", "fanout", "--dry-run")


async def test_a_replay_shows_who_would_get_a_lead_now_and_who_would_not(settings: Settings, cli: Any) -> None:
    async with pipeline(settings.model_copy(update={"welcome": False})) as house:
        stays = await house.subscriber("stays@example.com", "Sam")
        goes = await house.subscriber("goes@example.com", "Gus")
        gone = await house.subscriber("gone@example.com", "Gil")
        leads = [await house.lead(state="CA") for _ in range(3)]
        await house.settled()
        assert await cli(*REPLAY) == (0, [])
        await house.api.patch(f"/subscribers/{goes}", json={"active": False})
        await house.api.delete(f"/subscribers/{gone}")
        comes = await house.subscriber("comes@example.com", "Cleo", leads_purchased=2)
        code, found = await cli(*REPLAY)
        assert code == 0
        assert [row["lead_id"] for row in found] == leads
        assert [row["more"] for row in found] == [[comes], [comes], []]
        assert [row["used_up"] for row in found] == [[], [], [comes]]
        assert {tuple(sorted(row["fewer"])) for row in found} == {tuple(sorted((goes, "a removed subscriber")))}
        assert all(stays in row["would"] and stays in row["requested"] for row in found)


async def test_a_whole_history_replayed_and_rebuilt_sends_nothing_and_a_replay_changes_nothing(
    settings: Settings, cli: Any
) -> None:
    quick = settings.model_copy(update={"welcome": False})
    async with pipeline(quick) as house, projecting(quick):
        await house.subscribers(3)
        for _ in range(20):
            await house.lead()
        await house.settled()
        await eventually(lambda: all_finished(house.client, GROUPS), "every projection to finish")
        await house.subscriber("later@example.com", "Lea")  # whom a replay that sent would reach
        sent, connections = house.smtp.count, house.smtp.connections
        requests = await house.client.xlen(keys.stream(0, keys.EMAILS))
        assert (sent, requests) == (60, 60)
        for _ in range(2):
            code, found = await cli(*REPLAY)
            assert (code, len(found)) == (0, 20)
            assert (await cli("projections", "rebuild", "--all"))[0] == 0
            assert (await cli("projections", "verify"))[0] == 0
        await house.settled()
        assert (house.smtp.count, house.smtp.connections) == (sent, connections)
        assert await house.client.xlen(keys.stream(0, keys.EMAILS)) == requests


async def test_a_whole_history_that_is_archived_is_replayed_and_rebuilt_with_the_mailer_there_and_nothing_is_sent(
    settings: Settings, cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "archive"
    monkeypatch.setenv("LEADSTREAM_ARCHIVE_URL", str(folder))
    quick = settings.model_copy(update={"welcome": False})
    async with pipeline(quick) as house, projecting(quick):
        await house.subscribers(3)
        leads = [await house.lead() for _ in range(12)]
        await house.settled()
        await eventually(lambda: all_finished(house.client, GROUPS), "every projection to finish")
        sent, connections = house.smtp.count, house.smtp.connections
        assert sent == 36
        for name in (keys.OUTCOMES, keys.EMAILS, keys.LEADS):
            length = int(await house.client.xlen(keys.stream(0, name)))
            await archived(house.client, Archive(DiskStore(folder), "a folder"), name, length * 2 // 3)
            await house.client.xtrim(keys.stream(0, name), maxlen=length - length * 2 // 3, approximate=False)
        # As trimming does for leads that are over: the oldest ones.
        await house.client.unlink(*(keys.ledger(0, lead) for lead in leads[:4]))
        assert await cli(*REPLAY) == (0, [])
        await house.subscriber("later@example.com", "Lea")  # whom a replay that sent would reach
        code, found = await cli(*REPLAY)
        assert (code, len(found)) == (0, 12)
        assert (await cli("projections", "rebuild", "--all"))[0] == 0
        assert (await cli("projections", "verify"))[0] == 0
        await house.settled()
        assert (house.smtp.count, house.smtp.connections) == (sent, connections)


async def test_a_replay_writes_nothing(settings: Settings, raw: Any, cli: Any) -> None:
    async with pipeline(settings.model_copy(update={"welcome": False})) as house:
        await house.subscribers(2)
        await house.lead()
        await house.settled()

    async def writes() -> int:
        return int((await raw.info("persistence"))["rdb_changes_since_last_save"])

    before = await writes()
    code, found = await cli(*REPLAY, "--all")
    assert (code, len(found)) == (0, 1)
    assert await writes() == before


def test_a_replay_holds_no_code_that_sends() -> None:
    code = (
        "import sys, leadstream_cli.commands.replay, leadstream_cli.fanout_replay;"
        "bad = [name for name in sys.modules if name.startswith(('leadstream_mail', 'aiosmtplib'))];"
        "sys.exit(str(bad) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment({}), capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


async def test_a_replay_without_dry_run_is_refused(cli: Any) -> None:
    assert (await cli("replay", "--since", "1d", "--handler", "fanout"))[0] == 2
    assert (await cli("replay", "--since", "soon", "--handler", "fanout", "--dry-run"))[0] == 2
