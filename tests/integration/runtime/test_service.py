"""run_service: waits for Redis, ends with exit code 0 on a signal, and refuses another number of partitions."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from leadstream_events.errors import ConfigurationError
from leadstream_events.keys import META
from leadstream_events.redis_client import Client
from leadstream_events.runtime.policy import ConsumerPolicy
from leadstream_events.runtime.service import policy_of, run_service
from leadstream_events.settings import Settings
from tests.support.ports import free_port
from tests.support.process import ServiceProcess
from tests.support.redis_server import ServerFactory
from tests.support.waiting import eventually_sync

ROOT = Path(__file__).parents[3]


def service(env: dict[str, str], output: Path, ready: str) -> ServiceProcess:
    return ServiceProcess([], env=env, output=output, ready_line=ready, module="tests.support.idle_service", cwd=ROOT)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_waiting_for_redis_with_exit_code_0(tmp_path: Path, number: signal.Signals) -> None:
    env = {"LEADSTREAM_REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"}
    with service(env, tmp_path / "log", "waiting for redis") as process:
        subprocess.run(["kill", f"-{number.value}", str(process.pid)], check=True)
        assert process.wait(10) == 0


def test_a_service_that_started_before_redis_works_once_it_is_there_and_stops_with_0(
    tmp_path: Path, fresh_server: ServerFactory
) -> None:
    port = free_port()
    env = {"LEADSTREAM_REDIS_URL": f"redis://127.0.0.1:{port}/0"}
    with service(env, tmp_path / "log", "waiting for redis") as process:
        fresh_server(port=port)
        eventually_sync(lambda: "ready " in process.text(), "the service to be ready")
        assert process.terminate(10) == 0


async def test_another_number_of_partitions_is_refused_with_its_mend(settings: Settings, raw: Client) -> None:
    await raw.hset(META, "partitions", "3")
    with pytest.raises(ConfigurationError, match=r"LEADSTREAM_PARTITIONS is 1, .* 3: set it back to 3"):
        await run_service("test", settings, lambda _: pytest.fail("built all the same"))


async def test_the_first_start_fixes_the_number_of_partitions(settings: Settings, raw: Client) -> None:
    async def build(_: object) -> list[object]:
        raise ConfigurationError("seen enough")

    with pytest.raises(ConfigurationError, match="seen enough"):
        await run_service("test", settings.model_copy(update={"partitions": 4}), build)  # type: ignore[arg-type]
    assert await raw.hget(META, "partitions") == b"4"


def test_the_settings_say_how_a_consumer_behaves() -> None:
    settings = Settings(lease=7.0, max_deliveries=3, drain_deadline=2.0)
    assert policy_of(settings, batch=5) == ConsumerPolicy(lease_s=7.0, max_deliveries=3, batch=5, drain_s=2.0)
