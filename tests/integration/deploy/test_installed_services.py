"""Each service, installed from only its own requirement file in an empty environment, works with the others."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.integration.deploy.installing import InstalledHouse, build, require_package_index
from tests.support.house import House
from tests.unit.deploy.dockerfile import ROOT
from tests.unit.test_requirements import blocks, normal

SERVICES = ("api", "mailer", "projections")
OWN = {
    "api": {"leadstream_events", "leadstream_mail", "leadstream_api"},
    "mailer": {"leadstream_events", "leadstream_mail", "leadstream_mailer"},
    "projections": {"leadstream_events", "leadstream_projections"},
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
    with InstalledHouse(tmp_path / "house", made.__getitem__) as house:
        await asyncio.to_thread(house.start)
        await house.add_subscribers(3)
        leads = await house.post_leads(5)
        await house.settled(leads)
        report = await house.verify(leads)
        assert (report.accepted, sum(house.inbox.copies().values())) == (5, 5 * 4)
        assert not (report.lost or report.doubled or report.strangers or report.differences), str(report)
        for name in house.processes:
            assert _health(house, name) == (0, ""), f"{name} is not healthy"
        ends = {name: await asyncio.to_thread(process.terminate) for name, process in house.processes.items()}
        assert set(ends.values()) == {0}, ends
        assert _health(house, "api")[0] == 1


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
