"""Key-encryption keys: rotated under a running house, cut off and begun again, missing; and erasure by the command."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from pathlib import Path

import pytest
from redis.asyncio import Redis

from leadstream_cli.main import run
from leadstream_events import keys
from leadstream_events.rotation import rotate, wrapped
from leadstream_events.schemas.events import EmailSent
from leadstream_events.settings import Settings
from leadstream_events.vault import KeyFile
from tests.cases.pipeline import pipeline
from tests.integration.api.conftest import api_client
from tests.integration.privacy.search import PERSON, in_redis
from tests.support.waiting import eventually


@pytest.fixture
def keyed(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings with a keys file of one key, and the command line on the same."""
    path = tmp_path / "encryption.keys"
    monkeypatch.setenv("LEADSTREAM_REDIS_URL", settings.redis_url)
    monkeypatch.setenv("LEADSTREAM_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("LEADSTREAM_ENCRYPTION_KEYS_FILE", str(path))
    assert run(["encryption", "new-key", "--id", "k1"]) == 0
    assert path.stat().st_mode & 0o777 == 0o600
    return settings.model_copy(update={"encryption_keys_file": path})


async def command(*args: str) -> int:
    return await asyncio.to_thread(run, args)


async def test_keys_rotate_while_leads_come_in_and_mails_go_out(
    keyed: Settings, raw: Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    async with pipeline(keyed.model_copy(update={"welcome": False})) as house:
        await house.subscriber()
        first = await house.lead()
        for number in range(20):
            await house.lead(email=f"before{number}@example.com")
        assert await command("encryption", "new-key", "--id", "k2") == 0
        during = asyncio.gather(*(house.lead(email=f"during{number}@example.com") for number in range(20)))
        assert await command("encryption", "rotate", "--yes") == 0
        await during
        await house.settled()
        sent = [each for each in await house.outcomes() if isinstance(each, EmailSent)]
        assert len(sent) == 41
        assert (await house.api.get(f"/leads/{first}")).json()["lead"]["full_name"] == "Dana Example"

        async def noticed() -> bool:  # a service looks at the file once a second
            newest = await house.client.hget(keys.lead_keys(0), await house.lead())
            return bool(newest.startswith(b"k2:"))

        await eventually(noticed, "new leads to get the new key")
        assert await command("encryption", "rotate", "--yes") == 0
        assert (await wrapped(house.client, 1)).by.keys() == {"k2"}
        capsys.readouterr()
        assert await command("encryption", "status", "--json") == 0
        shown = json.loads(capsys.readouterr().out)
        assert await command("encryption", "status") == 0
        text = capsys.readouterr().out
        assert "k2: " in text and "{" not in text
        assert (shown["newest"], list(shown["wrapped_by"]), shown["not_in_the_file"]) == ("k2", ["k2"], [])


async def test_a_rotation_that_is_killed_is_run_again_and_a_key_erased_meanwhile_stays_erased(
    keyed: Settings, raw: Redis
) -> None:
    async with api_client(keyed) as api:
        leads = [(await api.post("/leads", json=PERSON)).json()["lead_id"] for _ in range(30)]
        assert keyed.encryption_keys_file
        assert await command("encryption", "new-key", "--id", "k2") == 0
        ring = KeyFile(keyed.encryption_keys_file).ring()
        async for done in rotate(raw, 1, ring):  # cut off after the first page
            assert done.done == 30
            break
        assert (await api.delete(f"/leads/{leads[0]}")).status_code == 204
        assert await command("encryption", "rotate", "--yes") == 0
        found = await wrapped(raw, 1)
        assert (found.by, found.erased) == ({"k2": 29}, 1)
        assert (await api.get(f"/leads/{leads[1]}")).json()["lead"]["full_name"] == PERSON["full_name"]


async def test_without_its_key_encryption_key_a_lead_is_locked_and_not_erased(keyed: Settings, raw: Redis) -> None:
    async with api_client(keyed) as api:
        lead = (await api.post("/leads", json=PERSON)).json()["lead_id"]
    assert keyed.encryption_keys_file
    keyed.encryption_keys_file.unlink()
    assert await command("encryption", "new-key", "--id", "k9") == 0
    async with api_client(keyed) as api:
        view = (await api.get(f"/leads/{lead}")).json()
        assert (view["lead"], view["erased"], view["locked"]) == (None, False, True)
        assert (await api.get(f"/ui/leads/{lead}")).status_code == 200
        listed = (await api.get("/leads")).json()["items"]
        assert [(item["full_name"], item["locked"]) for item in listed] == [(None, True)]
    assert await command("encryption", "rotate", "--yes") == 1
    assert await command("doctor") == 3
    assert await command("lead", "show", lead) == 0
    assert await in_redis(raw) == []
    async with pipeline(keyed) as house:  # what cannot be opened is given up for a person, and can be redriven
        await eventually(lambda: house.client.xlen(keys.stream(0, keys.DEAD)), "the dead letter")
        ((_, fields),) = await house.client.xrange(keys.stream(0, keys.DEAD))
        assert json.loads(fields[b"data"])["cause"] == "key_missing"


async def test_the_command_erases_and_says_what_came_of_it(
    keyed: Settings, raw: Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    async with api_client(keyed) as api:
        lead = (await api.post("/leads", json=PERSON)).json()["lead_id"]
        for expected in ("erased", "already"):
            capsys.readouterr()
            assert await command("lead", "erase", lead, "--yes", "--reason", "asked", "--json") == 0
            assert json.loads(capsys.readouterr().out)["redis"] == expected
        capsys.readouterr()
        assert await command("lead", "erase", lead, "--yes") == 0
        shown = capsys.readouterr().out.splitlines()
        assert [line.split("  ")[-1].strip() for line in shown] == [
            lead,
            "nothing to erase: the lead is not there",
            "was erased before",
        ]
        assert await command("lead", "erase", "00000000-0000-7000-8000-000000000000", "--yes") == 1
        assert await command("lead", "show", lead) == 0
        assert "erased" in capsys.readouterr().out
        for args in (("tail", "leads", "--pii"), ("trace", lead, "--pii"), ("export", "--pii")):
            capsys.readouterr()
            assert await command(*args) == 0
            assert "Quilla" not in capsys.readouterr().out
        assert await command("trace", str(PERSON["email"])) == 1


async def test_a_lead_is_shown_found_exported_and_imported_with_its_key(
    keyed: Settings, raw: Redis, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    async with api_client(keyed) as api:
        lead = (await api.post("/leads", json=PERSON)).json()["lead_id"]
        file = tmp_path / "all.jsonl"
        assert await command("trace", str(PERSON["email"]), "--pii") == 0
        assert str(PERSON["full_name"]) in capsys.readouterr().out
        assert await command("tail", "leads", "--where", f"email={PERSON['email']}", "--pii") == 0
        assert str(PERSON["full_name"]) in capsys.readouterr().out
        assert await command("export", "--stream", "leads") == 0
        masked = capsys.readouterr().out
        assert "Quilla" not in masked and "quilla" not in masked
        assert await command("export", str(file), "--pii") == 0
        assert str(PERSON["full_name"]) not in file.read_text()
        await raw.flushall()
        assert await command("import", str(file), "--yes") == 0
        assert (await api.get(f"/leads/{lead}")).json()["lead"]["full_name"] == PERSON["full_name"]


async def test_a_process_killed_right_after_it_erased_has_erased(keyed: Settings, raw: Redis) -> None:
    """The step is one script: whenever the process dies, the key is there with the lead, or gone with LeadErased."""
    async with api_client(keyed) as api:
        leads = [(await api.post("/leads", json=PERSON)).json()["lead_id"] for _ in range(3)]
        for lead in leads:
            before = await raw.xlen(keys.stream(0, keys.LEADS))
            args = (sys.executable, "-m", "leadstream_cli.main", "lead", "erase", lead, "--yes")
            process = await asyncio.create_subprocess_exec(*args, stdout=asyncio.subprocess.DEVNULL)

            async def told(before: int = before) -> bool:
                return int(await raw.xlen(keys.stream(0, keys.LEADS))) > before

            await eventually(told, "LeadErased", 60)
            with contextlib.suppress(ProcessLookupError):  # it may have ended by itself
                process.kill()
            await process.wait()
            assert await raw.hget(keys.lead_keys(0), lead) == b"erased"
            assert (await api.get(f"/leads/{lead}")).json()["erased"] is True
