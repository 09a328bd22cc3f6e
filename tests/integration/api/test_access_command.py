"""`leadstream keys`, and what a running API makes of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from leadstream_cli.main import run
from leadstream_events.settings import Settings
from tests.integration.api.access_rig import SITE, Keys, bearer, guarded

Command = Callable[..., Any]


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "keys.jsonl"
    monkeypatch.setenv("LEADSTREAM_API_KEYS_FILE", str(file))
    return file


@pytest.fixture
def command(path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """`command("list")` answers with parsed JSON; another exit code than 0 answers with what stderr says."""

    def call(*args: str, code: int = 0) -> Any:
        capsys.readouterr()
        assert run(["keys", *args, *(["--json"] if code == 0 else [])]) == code
        out, err = capsys.readouterr()
        return json.loads(out) if code == 0 else err

    return call


async def test_a_key_that_the_command_makes_works_at_once_and_one_that_it_revokes_ends_at_once(
    command: Command, path: Path, settings: Settings
) -> None:
    secret = command("add", "ops", "--scope", "read")["key"]
    async with guarded(settings, Keys(path)) as api:
        assert (await api.get("/stats", headers=bearer(secret))).status_code == 200
        other = command("add", "late", "--scope", "admin")["key"]
        assert (await api.get("/stats", headers=bearer(other))).status_code == 200
        command("revoke", "ops", "--yes")
        assert (await api.get("/stats", headers=bearer(secret))).status_code == 401
        assert (await api.get("/stats", headers=bearer(other))).status_code == 200


async def test_after_a_rotation_both_keys_work_until_the_grace_is_over(
    command: Command, path: Path, settings: Settings
) -> None:
    old = command("add", "ops", "--scope", "read", "--limit", "100/min", "--expires", "90d")
    new = command("rotate", "ops", "--grace", "1h", "--yes")
    assert (new["scopes"], new["limit"]) == (["read"], "100/min")
    async with guarded(settings, Keys(path)) as api:
        for key in (old, new):
            assert (await api.get("/stats", headers=bearer(key["key"]))).status_code == 200
    first, second = command("list")
    assert (first["id"], second["id"]) == (old["id"], new["id"])
    assert first["expires"] < second["expires"]


def test_a_list_shows_neither_keys_nor_hashes_in_full(command: Command, path: Path) -> None:
    secret = command("add", "form", "--scope", "ingest", "--origin", SITE)["key"]
    (row,) = command("list")
    text = json.dumps(row)
    assert secret not in text + path.read_text()
    assert json.loads(path.read_text())["sha256"] not in text
    assert (row["name"], row["origins"], row["state"]) == ("form", [SITE], "live")


def test_what_cannot_be_a_key_is_refused_with_the_reason_and_changes_nothing(command: Command, path: Path) -> None:
    command("add", "ops", "--scope", "read")
    before = path.read_text()
    for args, code, says in (
        (("add", "ops", "--scope", "read"), 1, "rotate ops"),
        (("add", "a b", "--scope", "read"), 2, "name"),
        (("add", "x", "--scope", "root"), 2, "--scope"),
        (("add", "x"), 2, "--scope"),
        (("add", "x", "--scope", "read", "--limit", "often"), 2, "limit"),
        (("add", "x", "--scope", "read", "--expires", "soon"), 2, "--expires"),
        (("add", "x", "--scope", "ingest", "--origin", "*"), 2, "origins"),
        (("add", "x", "--scope", "admin", "--origin", SITE), 2, "only scope must be ingest"),
        (("revoke", "nobody", "--yes"), 1, "no live key"),
        (("rotate", "nobody", "--yes"), 1, "no live key"),
    ):
        assert says in command(*args, code=code), args
    assert path.read_text() == before


def test_without_a_file_or_with_a_wrong_one_the_command_says_what_to_do(
    command: Command, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "leadstream keys add" in command("list", code=2)
    path.write_text("{")
    assert "line 1" in command("list", code=2)
    assert "line 1" in command("add", "x", "--scope", "read", code=2)
    monkeypatch.delenv("LEADSTREAM_API_KEYS_FILE")
    assert "LEADSTREAM_API_KEYS_FILE" in command("list", code=1)
