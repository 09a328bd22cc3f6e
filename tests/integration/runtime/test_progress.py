"""A consumer that has something to do and does not get on is not ready; one that has nothing to do is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from leadstream_events.redis_client import Client
from leadstream_events.runtime.answering import Answer
from leadstream_events.runtime.observed import Observed
from tests.integration.runtime.harness import FAST, GROUP, running
from tests.support.entries import add_lead
from tests.support.process import ServiceProcess
from tests.support.waiting import eventually

IMPATIENT = replace(FAST, silence_s=0.4, stalled_s=0.3, lease_s=60.0)


def said(answer: Answer) -> dict[str, object]:
    return dict(json.loads(answer.body))


async def test_a_handler_that_never_ends_makes_its_consumer_unready_until_it_does(
    redis_url: str, client: Client
) -> None:
    async with running(redis_url, policy=IMPATIENT) as me:
        seen = Observed([me.consumer], lambda: True, started=True)
        me.recorder.gate.clear()
        await add_lead(client)

        async def answers(status: int) -> dict[str, object] | None:
            answer = await seen.ready()
            return said(answer) if answer.status == status else None

        found = await eventually(lambda: answers(503), "the consumer to be found stalled")
        assert found == {"status": "unavailable", "causes": [f"no progress: {GROUP}"]}
        assert (await seen.live()).status == 200, "a restart would not mend it"
        assert b"leadstream_ready 0.0" in (await seen.metrics()).body
        me.recorder.gate.set()
        assert await eventually(lambda: answers(200), "the consumer to get on") == {"status": "ready"}


async def test_a_consumer_at_rest_is_ready_however_long_it_rests(redis_url: str, client: Client) -> None:
    async with running(redis_url, policy=replace(IMPATIENT, stalled_s=0.0)) as me:
        await add_lead(client)
        await me.hooks.until(lambda: me.hooks.counts["settled:ack"])

        async def rests() -> bool:
            return not me.consumer.stalled

        await eventually(rests, "the watch to see that nothing waits")


def test_the_heartbeat_file_may_stand_in_the_file_of_settings(tmp_path: Path, redis_url: str) -> None:
    beat = tmp_path / "alive"
    (tmp_path / "leadstream.toml").write_text(f'redis_url = "{redis_url}"\nheartbeat_file = "{beat}"\n')
    env = {"LEADSTREAM_CONFIG": str(tmp_path / "leadstream.toml")}
    root = Path(__file__).parents[3]
    with ServiceProcess(
        [], env=env, output=tmp_path / "log", module="tests.support.idle_service", cwd=root, ready_line="consumers=1"
    ) as process:
        assert beat.exists()
        assert process.terminate() == 0
