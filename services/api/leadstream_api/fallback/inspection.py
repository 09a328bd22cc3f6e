"""Reads a spool without touching it, for the command line: counts, and ids of leads; no personal data."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from leadstream_api.fallback.rows import FILE


@dataclass(frozen=True, slots=True)
class SpooledLeadRow:
    """One lead that waits: its mails by state (`requested`, `sent`, ...)."""

    lead_id: str
    spooled_ms: int
    in_doubt: bool
    mails: dict[str, int]


@dataclass(frozen=True, slots=True)
class SpoolContents:
    """What the spool of a data directory holds. `oldest_ms` is None when it is empty."""

    path: str
    leads: int = 0
    undecided: int = 0
    oldest_ms: int | None = None
    mails: dict[str, int] = field(default_factory=dict)
    items: tuple[SpooledLeadRow, ...] = ()


def read_spool(data_dir: Path, limit: int) -> SpoolContents | None:
    """Returns what the spool holds, with its first `limit` leads; None when there never was one.

    Raises `sqlite3.Error` or OSError when the file cannot be read.
    """
    path = data_dir / FILE
    if not path.is_file():
        return None
    with contextlib.closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=2.0)) as db:
        db.execute("BEGIN")  # one view of all tables
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'leads'").fetchone():
            return SpoolContents(str(path))
        leads, undecided, oldest = db.execute(
            "SELECT COUNT(*), COUNT(*) - COALESCE(SUM(planned), 0), MIN(spooled_ms) FROM leads"
        ).fetchone()
        mails = dict(db.execute("SELECT state, COUNT(*) FROM mails GROUP BY state ORDER BY state"))
        rows = db.execute("SELECT lead_id, spooled_ms, in_doubt FROM leads ORDER BY seq LIMIT ?", (limit,)).fetchall()
        items = tuple(
            SpooledLeadRow(lead_id, spooled_ms, bool(in_doubt), _mails_of(db, lead_id))
            for lead_id, spooled_ms, in_doubt in rows
        )
    return SpoolContents(str(path), leads, undecided, oldest, mails, items)


def _mails_of(db: sqlite3.Connection, lead_id: str) -> dict[str, int]:
    counted = db.execute("SELECT state, COUNT(*) FROM mails WHERE lead_id = ? GROUP BY state", (lead_id,))
    return dict(counted)
