"""What the API has on disk for the time when Redis is away: only what stands there can it mail by.

It looks at Redis once a second. A test that takes Redis away before the first look, or before the look that follows a
change, takes it from an API that knows nobody.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path


def spool_facts(data_dir: Path) -> dict[str, str]:
    """Names and values; empty while there is no such table yet."""
    try:
        with closing(sqlite3.connect(f"file:{data_dir / 'spool.db'}?mode=rw", uri=True)) as spool:
            return dict(spool.execute("SELECT name, value FROM facts").fetchall())
    except sqlite3.OperationalError:  # no file, or no table in it
        return {}


def leads_in_the_spool(data_dir: Path) -> int:
    """How many leads are still to be merged into Redis."""
    try:
        with closing(sqlite3.connect(f"file:{data_dir / 'spool.db'}?mode=rw", uri=True)) as spool:
            return int(spool.execute("SELECT count(*) FROM leads").fetchone()[0])
    except sqlite3.OperationalError:  # no file, or no table in it
        return 0


def known_to_the_fallback(data_dir: Path, subscribers: Sequence[str] = ()) -> bool:
    """True when the API has looked, and found every one of these subscribers."""
    directory = spool_facts(data_dir).get("directory")
    return directory is not None and all(each in directory for each in subscribers)
