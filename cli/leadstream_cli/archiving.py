"""The archive for commands: opened when one is set up, read beside the streams."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from leadstream_cli.connection import configured, running

if TYPE_CHECKING:
    from leadstream_archive.archive import Archive
    from leadstream_archive.history import History
    from leadstream_events.redis_client import Client
    from leadstream_events.settings import Settings


def find_archive_url() -> str | None:
    """Where the archive is: environment, file, or the one of a running `leadstream up`; None: there is none."""
    found = configured("archive_url")
    if found is not None:
        return None if found.value.strip().lower() in ("", "off", "none") else found.value
    if running() is None or configured("redis_url") is not None:
        return None
    data_dir = configured("data_dir")
    return str(Path(data_dir.value if data_dir else "data") / "archive")


def keeps_everything() -> bool:
    """True when `RETAIN` is off, so that nothing is ever due to be archived but dead letters."""
    found = configured("retain")
    return find_archive_url() is None if found is None else found.value.strip().lower() in ("off", "none")


def retained_s(settings: Settings) -> float | None:
    """How long Redis keeps what is finished, in seconds; None: everything. As `keeps_everything` decides."""
    if settings.retain is None and not keeps_everything():
        from leadstream_events.settings import RETAIN_WITH_ARCHIVE_S

        return RETAIN_WITH_ARCHIVE_S
    return settings.retain


def find_archive() -> Archive | None:
    """The archive, not looked at yet. Raises `ConfigurationError`."""
    url = find_archive_url()
    if url is None:
        return None
    from leadstream_archive.opening import open_url

    return open_url(url)


def history(client: Client) -> History:
    """Archive and streams as one; the streams alone without an archive."""
    from leadstream_archive.history import History

    return History(client, find_archive())


def older(client: Client) -> History | None:
    """What a `StreamLog` reads on in; None without an archive."""
    return None if find_archive_url() is None else history(client)
