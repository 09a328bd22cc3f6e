"""`projections verify` finds what was made wrong by hand, `projections rebuild` heals it, and a killed one goes on."""

from __future__ import annotations

import asyncio
import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from leadstream_cli.main import run
from leadstream_events import keys
from leadstream_events.envelope import flat, make_event
from leadstream_events.ids import email_id
from leadstream_events.redis_client import Client
from leadstream_events.reservations import Reservation, Settled, reserve, settle
from leadstream_events.schemas import events as e
from leadstream_events.settings import Settings
from leadstream_projections.counters import PER_LEAD, PROJECTIONS, SERIES, TOTALS, Increments, Place, Projection
from leadstream_projections.service import note_versions
from leadstream_projections.verify import verify
from tests.integration.cli.conftest import command, environment
from tests.integration.projections.running import projecting
from tests.integration.projections.scan import GROUPS, all_finished, expected, stored
from tests.integration.projections.test_rebuild import all_the_while, assert_live, client, in_generation
from tests.integration.projections.workload import append, leads
from tests.support.waiting import eventually

__all__ = ["client"]
NOW = datetime(2027, 1, 1, tzinfo=UTC)


@pytest.fixture
def cli(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a command beside the test's loop; returns exit code and what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LEADSTREAM_REDIS_URL", redis_url)

    async def call(*args: str) -> tuple[int, str]:
        capsys.readouterr()
        code = await asyncio.to_thread(run, args)
        return code, capsys.readouterr().out

    return call


async def counted(raw: Any, settings: Settings, number: int = 80) -> None:
    await append(raw, leads(number))
    async with projecting(settings):
        await eventually(lambda: all_finished(raw, GROUPS), "every projection to finish")


async def test_drift_made_by_hand_is_found_and_healed(settings: Settings, raw: Any, cli: Any) -> None:
    await counted(raw, settings)
    assert (await cli("projections", "verify"))[0] == 0
    by_hand = [
        (keys.projection(0, "totals", 1), "sent", 3),
        (keys.projection(0, "subscribers", 1), "sub-1:sent", -1),
        (keys.projection(0, "leads", 1, "lead-000007"), "requested", 1),
        (keys.projection(0, "leads", 1, "lead-nobody"), "requested", 1),
        (keys.projection(0, "series", 1, "day:2026"), "12-31 sent", 1),
    ]
    for key, field, by in by_hand:
        await raw.hincrby(key, field, by)
    code, out = await cli("projections", "verify", "--json")
    assert code == 3
    found = {(item["projection"], item["part"], item["counter"]): item for item in json.loads(out)}
    assert set(found) == {
        ("totals", "", "sent"),
        ("subscribers", "", "sub-1:sent"),
        ("leads", "lead-000007", "requested"),
        ("leads", "lead-nobody", "requested"),
        ("series", "day:2026", "12-31 sent"),
    }
    totals = found["totals", "", "sent"]
    assert int(totals["counted"]) - int(totals["expected"]) == 3
    assert (await cli("projections", "rebuild", "--all"))[0] == 0
    assert (await cli("projections", "verify"))[0] == 0
    assert await stored(raw) == in_generation(await expected(raw), 2)


async def test_a_projection_that_is_wrong_in_code_is_drift_too(settings: Settings, raw: Any, client: Client) -> None:
    """The second count shares no code with the first: a rebuild would only repeat the mistake."""

    def forgetful(event: Any, place: Place) -> Increments:
        return tuple(each for each in TOTALS.increments(event, place) if each.field != "skipped:quota")

    wrong = Projection("totals", 1, TOTALS.streams, forgetful)
    await append(raw, leads(60))
    async with projecting(settings, projections=(wrong,)):
        await eventually(lambda: all_finished(raw, {wrong.group: wrong.streams}), "the totals to finish")
    drifts = (await verify(client, TOTALS, 0, NOW)).drifts
    assert [(item.counter, item.counted) for item in drifts] == [("skipped:quota", None)]


async def test_nothing_is_drift_while_everything_is_busy(settings: Settings, raw: Any, client: Client) -> None:
    async def come_in(number: int) -> None:
        await append(raw, leads(3, seed=number, first=number * 3))

    async with projecting(settings), all_the_while(come_in):
        for _ in range(3):
            for projection in PROJECTIONS:
                found = await verify(client, projection, 0, NOW)
                assert found.drifts == []
    assert (await verify(client, PER_LEAD, 0, NOW)).counters > 0
    assert (await verify(client, SERIES, 0, NOW)).counters > 0


async def test_purchased_leads_are_compared_with_the_outcomes(raw: Any, client: Client, cli: Any) -> None:
    async def add() -> str:
        code, out = await cli("subscribers", "add", "s1@example.com", "--name", "Sam", "--json")
        assert code == 0
        return str(json.loads(out)["id"])

    who = await add()
    for number, reply in enumerate(("sent", "sent", "failed")):
        mail = email_id(f"lead-{number}", e.Kind.NOTIFICATION, who)
        of_mail: dict[str, Any] = {"email_id": mail, "kind": e.Kind.NOTIFICATION, "subscriber_id": who, "attempt": 1}
        data = (
            e.EmailSent(**of_mail, code=250, reply="ok", message_id="<m@example.com>")
            if reply == "sent"
            else e.EmailFailed(**of_mail, cause="refused")
        )
        await raw.execute_command(
            "XADD", keys.stream(0, keys.OUTCOMES), "*", *flat(make_event(data, subject=f"lead-{number}", now=NOW))
        )
        await reserve(client, [Reservation(mail, who, -1)])
        await settle(client, [Settled(mail, who, reply == "sent", NOW)])
    for group in ("quota", "projections.subscribers"):
        last = (await raw.xinfo_stream(keys.stream(0, keys.OUTCOMES)))["last-generated-id"]
        await raw.xgroup_create(keys.stream(0, keys.OUTCOMES), group, last)
    await cli("projections", "rebuild", "--all")
    assert (await cli("projections", "verify"))[0] == 0
    await raw.hincrby(keys.quota(who), "sent", 1)
    code, out = await cli("projections", "verify", "--json")
    assert code == 3
    (drift,) = json.loads(out)
    assert (drift["projection"], drift["counted"], drift["expected"]) == ("quota", "3", "2")


async def test_trimmed_streams_cannot_be_verified_and_that_is_said(raw: Any, cli: Any, settings: Settings) -> None:
    await counted(raw, settings, 20)
    await raw.xtrim(keys.stream(0, keys.OUTCOMES), maxlen=3, approximate=False)
    assert (await cli("projections", "verify"))[0] == 1
    assert (await cli("projections", "rebuild", "totals"))[0] == 1
    assert (await cli("projections", "rebuild", "nobody"))[0] == 2
    assert (await cli("projections", "rebuild"))[0] == 2


@pytest.mark.slow
async def test_a_rebuild_killed_at_any_moment_goes_on_and_is_exact(
    settings: Settings, raw: Any, redis_url: str, tmp_path: Path
) -> None:
    await append(raw, leads(1_500))
    env = environment({"LEADSTREAM_REDIS_URL": redis_url})
    async with projecting(settings):
        await eventually(lambda: all_finished(raw, GROUPS), "every projection to finish", 60)
        killed = 0
        for share in (1, 4_000, 8_000, 20_000):
            process = await asyncio.create_subprocess_exec(
                *command("projections", "rebuild", "--all"), cwd=tmp_path, env=env, stderr=subprocess.DEVNULL
            )

            async def far_enough(share: int = share, process: Any = process) -> bool:
                if process.returncode is not None:
                    return True
                done = [int(await raw.hget(keys.rebuild(0, each.name), "done") or 0) for each in PROJECTIONS]
                return sum(done) >= share

            await eventually(far_enough, "some counting")
            if process.returncode is None:
                process.kill()
                killed += 1
            await process.wait()
        assert killed >= 2
        done = await asyncio.to_thread(
            subprocess.run, command("projections", "rebuild", "--all"), cwd=tmp_path, env=env, timeout=60
        )
        assert done.returncode == 0
        await append(raw, leads(20, seed=9, first=5_000))
        await eventually(lambda: all_finished(raw, GROUPS), "every projection to finish", 60)
    generation = int(await raw.hget(keys.projection_pointer(0), "totals"))
    await assert_live(raw, generation)


async def test_a_changed_definition_is_told_by_the_service_and_by_status_until_it_is_rebuilt(
    settings: Settings, raw: Any, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await note_versions(settings, PROJECTIONS) == []
    await counted(raw, settings, 20)
    newer = Projection("totals", 2, TOTALS.streams, TOTALS.increments)
    monkeypatch.setattr("leadstream_projections.counters.PROJECTIONS", (newer, *PROJECTIONS[1:]))
    assert await note_versions(settings, (newer,)) == ["totals"]

    async def needing() -> list[str]:
        code, out = await cli("projections", "status", "--json")
        assert code == 0
        return [row["projection"] for row in json.loads(out) if row["needs_rebuild"]]

    assert await needing() == ["totals"]
    assert "leadstream projections rebuild totals" in (await cli("projections", "status"))[1]
    assert (await cli("projections", "rebuild", "totals"))[0] == 0
    assert await needing() == []
    assert await note_versions(settings, (newer,)) == []
