"""Opens the archive that the settings name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from leadstream_archive.archive import Archive
from leadstream_archive.stores import DiskStore, ObjectStore
from leadstream_events.errors import ConfigurationError

if TYPE_CHECKING:
    from leadstream_events.settings import Settings


def open_archive(settings: Settings) -> Archive | None:
    """The archive of `ARCHIVE_URL`, or None without one; nothing is read yet. Raises `ConfigurationError`."""
    return None if settings.archive_url is None else open_url(settings.archive_url)


def open_url(url: str) -> Archive:
    """The archive at a folder, `file:///path` or `s3://bucket/prefix`. Raises `ConfigurationError`.

    S3 takes its credentials and endpoint from the environment (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT`, ...).
    """
    parts = urlsplit(url)
    if parts.scheme in ("", "file"):
        path = Path(unquote(parts.path) if parts.scheme else url)
        return Archive(DiskStore(path.absolute()), str(path))
    if parts.scheme != "s3" or not parts.netloc or "@" in parts.netloc:
        raise ConfigurationError("LEADSTREAM_ARCHIVE_URL: must be a folder, file:///path or s3://bucket/prefix")
    return Archive(ObjectStore(_s3(parts.netloc, parts.path.strip("/"))), url)


def _s3(bucket: str, prefix: str) -> object:
    import obstore.exceptions
    from obstore.store import S3Store

    try:
        return S3Store(bucket, prefix=prefix or None)
    except (obstore.exceptions.BaseError, ValueError) as error:
        raise ConfigurationError(
            f"LEADSTREAM_ARCHIVE_URL: the object store cannot be used ({type(error).__name__}); "
            "look at AWS_REGION, AWS_ENDPOINT and the other AWS_ variables"
        ) from None
