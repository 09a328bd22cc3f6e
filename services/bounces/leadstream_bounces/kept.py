"""Mails that came to our return path and are for a person: bounded, in Redis, seen with `leadstream bounces list`.

What is kept is the mail as it came, up to 64 KiB of it: a returned original may be inside, so a kept mail holds
personal data for as long as it is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from leadstream_bounces.proofs import Incoming, header_of
from leadstream_events import keys, scripts
from leadstream_events.envelope import rfc3339
from leadstream_events.redis_client import Client

MOST = 500
LIFETIME_MS = 30 * 86_400_000
MOST_BYTES = 65_536
_HEADER_TEXT = 200
_KEYS = [keys.KEPT_REPORTS, keys.KEPT_REPORT_IDS]


@dataclass(frozen=True, slots=True)
class Kept:
    """A kept mail. `why` is the reason, `size` what it had in bytes, `raw` up to 64 KiB of it."""

    entry_id: str
    at: datetime
    why: str
    source: str
    sender: str
    recipients: str
    subject: str
    size: int
    raw: bytes


async def keep(client: Client, mail: Incoming, why: str, now: datetime) -> bool:
    """Keeps a mail unless it is kept already; True when it is new. Redis errors pass through."""
    header = header_of(mail.raw)
    fields: list[str | bytes] = ["at", rfc3339(now), "why", why, "source", mail.source]
    fields += ["from", _shown(header["From"]), "subject", _shown(header["Subject"])]
    fields += ["to", " ".join(mail.recipients)[:_HEADER_TEXT].encode(errors="replace")]
    fields += ["size", str(len(mail.raw)), "raw", mail.raw[:MOST_BYTES]]
    return bool(await scripts.run(client, scripts.KEEP, _KEYS, [mail.digest, MOST, LIFETIME_MS, *fields]))


async def let_go(client: Client) -> None:
    """Lets go of what has been kept long enough; `keep` does so too."""
    await scripts.run(client, scripts.KEEP, _KEYS, ["", MOST, LIFETIME_MS])


async def newest(client: Client, count: int) -> list[Kept]:
    """Returns up to `count` kept mails, the newest first."""
    return [_kept(*entry) for entry in await client.xrevrange(keys.KEPT_REPORTS, count=count)]


async def find(client: Client, entry_id: str) -> Kept | None:
    """Returns one kept mail, or None when it is not kept any more."""
    found = await client.xrange(keys.KEPT_REPORTS, entry_id, entry_id)
    return _kept(*found[0]) if found else None


def _shown(value: object) -> bytes:
    return " ".join(str(value or "").split())[:_HEADER_TEXT].encode(errors="replace")


def _kept(entry_id: bytes, fields: dict[bytes, bytes]) -> Kept:
    text = {name.decode(): value.decode(errors="replace") for name, value in fields.items() if name != b"raw"}
    return Kept(
        entry_id.decode(),
        datetime.fromisoformat(text["at"]).astimezone(UTC),
        text["why"],
        text["source"],
        text["from"],
        text["to"],
        text["subject"],
        int(text["size"]),
        fields[b"raw"],
    )
