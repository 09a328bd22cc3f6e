"""Files that hold secrets: read with errors that name the setting and the mend, written so that a crash leaves no half.

No error repeats what a file holds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from leadstream_events.errors import ConfigurationError


def read_text(path: Path, setting: str = "", *, mend: str = "correct the path, or make the file") -> str:
    """Returns the file's text (UTF-8; a byte order mark is skipped).

    `ConfigurationError` says why it cannot be read; `mend` is what helps when it is not there or is not text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except PermissionError as error:
        why, mend = error.strerror, "let the user of this process read it"
    except OSError as error:
        why = error.strerror
    except UnicodeDecodeError:
        why = "it is not UTF-8"
    raise ConfigurationError(f"{_named(path, setting)} cannot be read: {why}; {mend}") from None


def read_secret(path: Path, setting: str = "", *, mend: str = "write the secret into it") -> str:
    """Returns the text without white space around it; `ConfigurationError` as in `read_text`, or for an empty file."""
    found = read_text(path, setting, mend=mend).strip()
    if not found:
        raise ConfigurationError(f"{_named(path, setting)} is empty: {mend}")
    return found


def _named(path: Path, setting: str) -> str:
    return f"{setting}: {path}" if setting else str(path)


def replace_secret(path: Path, text: str) -> None:
    """Writes the file in one step, so that nobody reads half of it; OSError leaves it as it was.

    A new file is its owner's alone (0600); an old one keeps mode and owner.
    """
    with _beside(path) as (fresh, handle):
        with suppress(FileNotFoundError):
            found = path.stat()
            os.fchmod(handle, found.st_mode & 0o777)
            if (found.st_uid, found.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(handle, found.st_uid, found.st_gid)
        _write(handle, text)
        fresh.replace(path)


def create_secret(path: Path, text: str) -> None:
    """Makes the file (0600) in one step; FileExistsError when it is there, OSError when it cannot be made.

    Of processes that do it together one succeeds (link(2) is atomic).
    """
    with _beside(path) as (fresh, handle):
        _write(handle, text)
        path.hardlink_to(fresh)


def overwrite_secret(path: Path, text: str) -> None:
    """Writes in place: owner and mode stay, and so does the file that a container or another program has mounted.

    A new file gets mode 0600. A crash half-way leaves a part of the text: for what can be written again.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        _write(handle, text)
    finally:
        os.close(handle)


@contextmanager
def _beside(path: Path) -> Iterator[tuple[Path, int]]:
    """An open file with mode 0600 in the same folder, gone afterwards unless it was renamed."""
    import tempfile  # who only reads starts faster without it

    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        yield Path(name), handle
    finally:
        os.close(handle)
        Path(name).unlink(missing_ok=True)


def _write(handle: int, text: str) -> None:
    with os.fdopen(handle, "w", encoding="utf-8", closefd=False) as out:
        out.write(text)
        out.flush()
        os.fsync(handle)
