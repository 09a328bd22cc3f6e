"""The users of Redis: every verb and its commands are allowed to whoever runs it, and the file holds no password."""

from __future__ import annotations

import re
import stat
from importlib.resources import files
from pathlib import Path

import pytest

from leadstream_cli.redis_acl import FILE, PREFIX, USER_NAMES, acl_text, marker, write_users
from leadstream_cli.redis_rights import CONNECTION, ON_ALL_ITS_KEYS, SERVICES, USERS, VERBS
from leadstream_events.errors import ConfigurationError

LUA = files("leadstream_events") / "lua"
# They stand in front of verbs and are none.
PARTS = {"trim": "trim_guard", "forget": "trim_guard", "rebuild_add": "rebuild_fold", "rebuild_swap": "rebuild_fold"}
# The archiver trims without telling operators of it.
UNUSED = {("archiver", "trim"): {"xadd"}}
CALL = re.compile(r"redis\.p?call\('([A-Z]+)'(?:, '([A-Z]+)')?")
WITH_PARTS = ("XGROUP", "XINFO")


def commands_of(verb: str) -> set[str]:
    text = "".join((LUA / f"{name}.lua").read_text() for name in (verb, PARTS.get(verb)) if name)
    return {
        f"{name}|{part}".lower() if name in WITH_PARTS else name.lower() for name, part in CALL.findall(text)
    }  # fmt: skip


def test_every_verb_has_its_users() -> None:
    stored = {file.name.removesuffix(".lua") for file in LUA.iterdir() if file.name.endswith(".lua")}
    missing = stored - set(VERBS) - set(PARTS.values())
    assert not missing, (
        f"{missing}: say in VERBS of cli/leadstream_cli/redis_rights.py who runs it, and give them rights"
    )
    assert set(VERBS) <= stored


@pytest.mark.parametrize("verb", VERBS)
def test_whoever_runs_a_verb_may_run_its_commands(verb: str) -> None:
    assert commands_of(verb)
    together = ["serve"] if set(VERBS[verb]) & SERVICES.keys() else []
    for name in (*VERBS[verb], *together):
        user = USERS[name]
        granted = {command for right in user.rights for command in right.commands}
        missing = (
            commands_of(verb) - UNUSED.get((name, verb), set()) - granted - {*CONNECTION, *ON_ALL_ITS_KEYS, *user.plain}
        )
        assert not missing, f"{name} runs {verb}.lua: give it {missing} in cli/leadstream_cli/redis_rights.py"


def test_no_service_has_what_only_an_administrator_needs() -> None:
    never = re.compile(
        r"\+(@|flush|keys\b|debug|shutdown|replicaof|config\|set|acl\|(?!whoami|dryrun)|client|save|module)"
    )
    lines = acl_text(dict.fromkeys(USER_NAMES, ("0" * 64,)), PREFIX).splitlines()
    assert lines[0] == "user default off"
    for line in lines[2:]:
        assert never.search(line.replace("-@all", "")) is None, line[:40]
        assert "~*" not in line.split()


def test_the_folder_holds_hashes_in_one_file_and_each_password_in_another(tmp_path: Path) -> None:
    folder = tmp_path / "users"
    written = write_users(folder, PREFIX, frozenset())
    text = (folder / FILE).read_text()
    for item in written:
        assert item.fresh
        assert item.password_file.read_text().strip() not in text
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not any(item.fresh for item in write_users(folder, PREFIX, frozenset()))
    assert (folder / FILE).read_text() == text, "the same passwords and rights give the same file"


def test_a_rotation_takes_both_passwords_until_the_file_is_written_again(tmp_path: Path) -> None:
    def hashes() -> list[str]:
        line = next(line for line in (tmp_path / FILE).read_text().splitlines() if "-mailer " in line)
        return [word for word in line.split() if word.startswith("#")]

    write_users(tmp_path, PREFIX, frozenset())
    (old,) = hashes()
    write_users(tmp_path, PREFIX, frozenset({"mailer"}))
    new, still = hashes()
    assert (still, new != old) == (old, True)
    write_users(tmp_path, PREFIX, frozenset())
    assert hashes() == [new]


def test_an_empty_password_file_is_named(tmp_path: Path) -> None:
    (tmp_path / f"{PREFIX}api.password").write_text("\n")
    with pytest.raises(ConfigurationError, match=r"leadstream-api\.password is empty: remove it"):
        write_users(tmp_path, PREFIX, frozenset())


def test_the_mark_of_a_version_stands_in_every_line(tmp_path: Path) -> None:
    lines = acl_text(dict.fromkeys(USER_NAMES, ("0" * 64,)), PREFIX).splitlines()
    assert [marker() in line for line in lines[2:]] == [True] * len(USERS)
