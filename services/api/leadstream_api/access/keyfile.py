"""The keys file on the disk: read again whenever it changes, and written so that nobody ever reads half of it.

A file that is wrong when the API starts stops it, with a `ConfigurationError` that names the line. One that becomes
wrong later is reported loudly and the last good keys stay in force: a slip of the pen must not lock every caller out.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from leadstream_api.access.keys import Key, Keyring, parse_key, parse_keys
from leadstream_events import logs
from leadstream_events.errors import ConfigurationError
from leadstream_events.secret_files import read_text, replace_secret

SETTING = "LEADSTREAM_API_KEYS_FILE"
_MEND = "make it with: leadstream keys add NAME --scope admin"
_log = logs.get(__name__)
_Mark = tuple[int, int, int]


def _mark(path: Path) -> _Mark | None:
    """Changes whenever the file does; a mounted secret is swapped by a link, and `stat` follows links."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def read_keys(path: Path) -> tuple[Key, ...]:
    """Reads the file; raises `ConfigurationError`."""
    return parse_keys(read_text(path, SETTING, mend=_MEND), f"{SETTING}: {path}")


class KeyFile:
    """The keys in force. `current()` costs one `stat` while the file stays as it is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mark = _mark(path)
        self._keyring = Keyring(read_keys(path))

    def current(self) -> Keyring:
        """The keys of the file as it is now, or as it last was without a fault."""
        mark = _mark(self.path)
        if mark != self._mark:
            self._mark = mark
            self._read_again()
        return self._keyring

    def _read_again(self) -> None:
        try:
            self._keyring = Keyring(read_keys(self.path))
        except ConfigurationError as error:
            _log.error("the API keys file is wrong; the keys before the change stay in force", reason=str(error))
            return
        _log.info("API keys read again", keys=len(self._keyring.keys))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Two commands at once must not undo each other's change. The lock is beside the file, which is replaced."""
    with path.with_name(path.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def change_keys(path: Path, change: Callable[[tuple[Key, ...]], tuple[Key, ...]]) -> None:
    """Replaces the keys by what `change` makes of them; comments stay. Raises `ConfigurationError` and OSError.

    A key that is no longer there is dropped, one with another content is rewritten in its place, new ones come last.
    """
    path = path.resolve()  # a link stays a link
    with _locked(path):
        old_text = read_text(path, mend="move it away, then add the keys anew") if path.exists() else ""
        old = parse_keys(old_text, str(path))
        left = {key.sha256: key for key in change(old)}
        lines = []
        for line in old_text.splitlines():
            if not line.strip() or line.lstrip().startswith("#"):
                lines.append(line)
            elif (key := left.pop(parse_key(line, str(path)).sha256, None)) is not None:
                lines.append(key.line())
        lines += [key.line() for key in left.values()]
        replace_secret(path, "".join(line + "\n" for line in lines))
