"""Where the files of an archive are: a folder of this machine, or S3 and what speaks like it.

Files are created whole and once, and never changed; `create` promises that the file outlives a crash (fsync of the
file and of its folder; for S3 an answered PUT). Calls block: the archive runs them in threads.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from leadstream_archive.errors import Unreachable


@dataclass(frozen=True, slots=True)
class Stored:
    """A file: its size in bytes and when it was written (seconds since 1970)."""

    name: str
    size: int
    modified_s: float


class Store(Protocol):
    """What the archive needs of a place. Names are relative, with `/` between parts. Raises `Unreachable`."""

    def create(self, name: str, content: bytes) -> bool:
        """Stores a file durably; False, with nothing changed, when one of that name is there."""

    def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Its bytes, or fewer when it ends before; raises FileNotFoundError."""

    def list(self, prefix: str = "") -> list[Stored]:
        """Every file whose name begins so."""

    def delete(self, names: Sequence[str]) -> None:
        """Deletes files; those that are not there are no error."""


@contextlib.contextmanager
def _telling(what: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Unreachable(f"{what}: {error.strerror or type(error).__name__}") from None


class DiskStore:
    """A folder. Tested against SIGKILL at any moment; what it promises beyond that is what fsync promises."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def create(self, name: str, content: bytes) -> bool:
        """Temporary file, fsync, link under its name (which fails if that is taken), fsync of the folder."""
        target = self.root / name
        with _telling(f"the archive cannot write in {self.root}"):
            self._make_folder(target.parent)
            temporary = target.parent / f".{target.name}.{uuid4().hex[:12]}.tmp"
            try:
                with temporary.open("xb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                try:
                    os.link(temporary, target)
                except FileExistsError:
                    return False
            finally:
                temporary.unlink(missing_ok=True)
            _sync_folder(target.parent)
        return True

    def _make_folder(self, folder: Path) -> None:
        missing = []
        while not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        for each in reversed(missing):
            each.mkdir(exist_ok=True)
            _sync_folder(each.parent)

    def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """See `Store`."""
        with _telling(f"the archive cannot read in {self.root}"), (self.root / name).open("rb") as file:
            file.seek(start)
            return file.read(-1 if length is None else length)

    def list(self, prefix: str = "") -> list[Stored]:
        """See `Store`; what a killed writer left unfinished is listed too, under its temporary name."""
        found = []
        with _telling(f"the archive cannot read in {self.root}"):
            for folder, _, names in os.walk(self.root / prefix.rpartition("/")[0]):
                for each in names:
                    path = Path(folder) / each
                    name = path.relative_to(self.root).as_posix()
                    if name.startswith(prefix):
                        with contextlib.suppress(FileNotFoundError):
                            status = path.stat()
                            found.append(Stored(name, status.st_size, status.st_mtime))
        return found

    def delete(self, names: Sequence[str]) -> None:
        """See `Store`."""
        with _telling(f"the archive cannot delete in {self.root}"):
            for name in names:
                (self.root / name).unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class ObjectStore:
    """S3 and others through obstore. `create` is a conditional PUT (`If-None-Match: *`), as S3 has it since 2024."""

    def __init__(self, store: Any) -> None:
        import obstore

        self._ob, self._store = obstore, store

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """obstore's messages hold addresses and query strings: only their kind is told."""
        try:
            yield
        except (FileNotFoundError, self._ob.exceptions.NotFoundError):
            raise FileNotFoundError from None
        except (self._ob.exceptions.BaseError, OSError) as error:
            raise Unreachable(f"the object store refused or did not answer ({type(error).__name__})") from None

    def create(self, name: str, content: bytes) -> bool:
        """See `Store`."""
        with self._errors():
            try:
                self._ob.put(self._store, name, content, mode="create", use_multipart=False)
            except self._ob.exceptions.AlreadyExistsError:
                return False
        return True

    def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """See `Store`."""
        with self._errors():
            if length is None and not start:
                return bytes(self._ob.get(self._store, name).bytes())
            size = self._ob.head(self._store, name)["size"]
            end = size if length is None else min(size, start + length)
            return bytes(self._ob.get_range(self._store, name, start=start, end=end)) if end > start else b""

    def list(self, prefix: str = "") -> list[Stored]:
        """See `Store`. Object stores list whole folders only, so the rest of the prefix is compared here."""
        folder, _, _ = prefix.rpartition("/")
        with self._errors():
            found = self._ob.list(self._store, folder or None).collect()
        return [
            Stored(each["path"], each["size"], each["last_modified"].timestamp())
            for each in found
            if each["path"].startswith(prefix)
        ]

    def delete(self, names: Sequence[str]) -> None:
        """See `Store`."""
        with self._errors():
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    self._ob.delete(self._store, name)
