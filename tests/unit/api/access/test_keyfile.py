"""The keys file on the disk: read again when it changes, written whole."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import structlog

from leadstream_api.access.keyfile import KeyFile, change_keys, read_keys
from leadstream_api.access.keys import Key
from leadstream_events.errors import ConfigurationError
from tests.unit.api.access.test_keys import key


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "keys.jsonl"
    file.write_text("# of the site\n" + key("a", name="a").line() + "\n")
    return file


def names(found: tuple[Key, ...]) -> list[str]:
    return [each.name for each in found]


def test_a_change_of_the_file_is_in_force_at_the_next_look(path: Path) -> None:
    keys = KeyFile(path)
    change_keys(path, lambda old: (*old, key("b", name="b")))
    assert names(keys.current().keys) == ["a", "b"]
    change_keys(path, lambda old: old[1:])
    assert names(keys.current().keys) == ["b"]


@pytest.mark.parametrize("text", ["{", "\udcff", None], ids=["wrong", "not UTF-8", "gone"])
def test_a_file_that_becomes_wrong_leaves_the_last_good_keys_and_is_reported_once(path: Path, text: str | None) -> None:
    keys = KeyFile(path)
    if text is None:
        path.unlink()
    else:
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with structlog.testing.capture_logs() as lines:
        assert [names(keys.current().keys) for _ in range(3)] == [["a"]] * 3
    assert [line["log_level"] for line in lines] == ["error"]
    path.write_text(key("c", name="c").line())
    assert names(keys.current().keys) == ["c"]


@pytest.mark.parametrize(("content", "says"), [(None, "leadstream keys add"), (b"{", "line 1"), (b"\xff", "UTF-8")])
def test_a_file_that_is_wrong_at_the_start_stops_it_and_names_the_setting(
    tmp_path: Path, content: bytes | None, says: str
) -> None:
    file = tmp_path / "keys"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"LEADSTREAM_API_KEYS_FILE") as caught:
        KeyFile(file)
    assert says in str(caught.value)


def test_a_change_keeps_comments_and_the_mode_and_a_new_file_is_its_owners_alone(path: Path) -> None:
    path.chmod(0o640)
    change_keys(path, lambda old: (*old, key("b", name="b")))
    assert path.read_text().startswith("# of the site\n")
    assert path.stat().st_mode & 0o777 == 0o640
    fresh = path.with_name("fresh")
    change_keys(fresh, lambda old: (*old, key("b", name="b")))
    assert fresh.stat().st_mode & 0o777 == 0o600


def test_a_change_that_fails_leaves_the_file_as_it_was_and_nothing_beside_it(path: Path) -> None:
    before = path.read_text()

    def fail(_: tuple[Key, ...]) -> tuple[Key, ...]:
        raise KeyError

    with pytest.raises(KeyError):
        change_keys(path, fail)
    assert path.read_text() == before
    assert sorted(each.name for each in path.parent.iterdir()) == ["keys.jsonl", "keys.jsonl.lock"]


def test_a_link_stays_a_link(path: Path) -> None:
    link = path.with_name("link")
    link.symlink_to(path)
    change_keys(link, lambda old: (*old, key("b", name="b")))
    assert link.is_symlink()
    assert names(read_keys(path)) == ["a", "b"]


def test_changes_at_the_same_time_do_not_undo_each_other(path: Path) -> None:
    def add(number: int) -> None:
        change_keys(path, lambda old: (*old, key(str(number), name=f"k{number}")))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(24)))
    assert set(names(read_keys(path))) == {"a", *(f"k{number}" for number in range(24))}
    assert not [each for each in path.parent.iterdir() if each.name.startswith(".")]
