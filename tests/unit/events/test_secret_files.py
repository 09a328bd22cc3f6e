"""Files with secrets: what is wrong with one is said in a line, and none is ever half written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from leadstream_api.access.keyfile import change_keys
from leadstream_bounces.mailbox import open_mailbox
from leadstream_cli.commands.acl import acl
from leadstream_cli.commands.encryption import new_key
from leadstream_events.errors import ConfigurationError
from leadstream_events.redis_access import RedisAccess
from leadstream_events.redis_client import connect
from leadstream_events.secret_files import create_secret, overwrite_secret, read_secret, replace_secret
from leadstream_events.settings import load_settings
from leadstream_events.vault import KeyFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "secret"


def test_a_secret_is_read_without_white_space_and_byte_order_mark(path: Path) -> None:
    path.write_bytes("\ufeff s€cret\r\n".encode())
    assert read_secret(path) == "s€cret"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read: No such file or directory; mend it"),
        (b"\xff\xfe", "cannot be read: it is not UTF-8; mend it"),
        (b" \n", "is empty: mend it"),
    ],
)
def test_what_is_wrong_names_setting_file_and_mend(path: Path, content: bytes | None, says: str) -> None:
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        read_secret(path, "LEADSTREAM_X_FILE", mend="mend it")
    assert str(caught.value) == f"LEADSTREAM_X_FILE: {path} {says}"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="Is a directory"):
        read_secret(tmp_path)


def _acl(path: Path) -> Result:
    path.rename(path.with_name("leadstream-api.password"))
    return CliRunner().invoke(acl, [str(path.parent)])


def _mailbox(path: Path) -> None:
    open_mailbox(load_settings(bounces_imap_url="imaps://me@mail.example.com", bounces_imap_password_file=path))


@pytest.mark.parametrize(
    "use",
    [
        _acl,
        lambda path: CliRunner().invoke(new_key, [str(path)]),
        lambda path: change_keys(path, lambda old: old),
        lambda path: connect(RedisAccess("redis://127.0.0.1", "me", password_file=path), timeout_s=1.0),
        KeyFile,
        _mailbox,
    ],
    ids=["acl", "encryption new-key", "keys add", "redis", "encryption", "mailbox"],
)
def test_no_reader_of_secrets_ends_in_a_traceback(path: Path, use: Callable[[Path], object]) -> None:
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="cannot be read: it is not UTF-8; "):
        if isinstance(found := use(path), Result) and found.exception:
            raise found.exception


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize("write", [replace_secret, create_secret, overwrite_secret])
def test_a_new_file_is_its_owners_alone_and_nothing_stays_beside_it(
    path: Path, write: Callable[[Path, str], None]
) -> None:
    write(path, "s€cret")
    assert (path.read_bytes().decode(), mode_of(path)) == ("s€cret", 0o600)
    assert list(path.parent.iterdir()) == [path]


def test_an_old_file_keeps_its_mode_and_is_replaced_or_kept_in_place(path: Path) -> None:
    path.write_text("old")
    path.chmod(0o640)
    with path.open() as held:
        overwrite_secret(path, "new")
        assert held.read() == "new", "whoever has it mounted sees the change"
    with path.open() as held:
        replace_secret(path, "newer")
        assert held.read() == "new", "whoever reads it reads the whole of one"
    assert (path.read_text(), mode_of(path)) == ("newer", 0o640)


def test_a_file_that_is_there_is_never_made_again(path: Path) -> None:
    path.write_text("old")
    with pytest.raises(FileExistsError):
        create_secret(path, "new")
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]
