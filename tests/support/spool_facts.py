"""What the API has on disk for the time when Redis is away: only what stands there can it mail by.

It looks at Redis once a second. A test that takes Redis away before the first look, or before the look that follows a
change, takes it from an API that knows nobody.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any


def in_spool(data_dir: Path, query: str) -> list[Any]:
    """The rows that the spool answers a query with; none as long as the API has made no file, or no tables in it.

    Raises `sqlite3.OperationalError` for anything else: a spool that cannot be read is not an empty one.
    """
    try:
        with closing(sqlite3.connect(f"file:{data_dir / 'spool.db'}?mode=rw", uri=True)) as spool:
            return spool.execute(query).fetchall()
    except sqlite3.OperationalError as error:
        if not str(error).startswith(("unable to open", "no such table")):
            raise
        return []


def spool_facts(data_dir: Path) -> dict[str, str]:
    """Names and values."""
    return dict(in_spool(data_dir, "SELECT name, value FROM facts"))


def leads_in_the_spool(data_dir: Path) -> int | None:
    """How many leads are still to be merged into Redis; None while there is no spool."""
    return next((count for (count,) in in_spool(data_dir, "SELECT COUNT(*) FROM leads")), None)


def known_to_the_fallback(data_dir: Path, subscribers: Sequence[str] = ()) -> bool:
    """True when the API has looked, and found every one of these subscribers."""
    directory = spool_facts(data_dir).get("directory")
    return directory is not None and all(each in directory for each in subscribers)
