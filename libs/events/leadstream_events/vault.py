"""Opens sealed leads: fetches their keys, many in one round trip, and unwraps them.

An entry whose key is gone stays sealed, which is what erased means; one whose key-encryption key is not at hand comes
back as `Locked`. Redis errors pass through.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from leadstream_events import keys
from leadstream_events.envelope import Event
from leadstream_events.errors import ConfigurationError, Malformed
from leadstream_events.log import Entry
from leadstream_events.redis_client import Client
from leadstream_events.sealed_leads import SealedLead, needs_key, open_lead, seal_lead
from leadstream_events.sealing import KeyMissing, KeyRing, open_sealed, parse_keys, unwrap, wrapped_by
from leadstream_events.secret_files import read_text
from leadstream_events.setting_values import Encryption
from leadstream_events.settings import PREFIX, Settings

_LOOK_AGAIN_S = 1.0
_MEND = "correct the path; leadstream encryption new-key FILE makes a file"


class KeyFile:
    """The key-encryption keys in force; the file is read again when it changed, so that keys rotate under way."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._ring, self._stamp, self._looked_s = KeyRing(), (0, 0), -_LOOK_AGAIN_S
        if path is not None:
            self._read(path)

    def ring(self, wanted: str = "") -> KeyRing:
        """The keys; at once if `wanted` is among them, else after a look at the file."""
        if self.path is None or wanted in self._ring.keys:
            return self._ring
        now = time.monotonic()
        if wanted or now - self._looked_s >= _LOOK_AGAIN_S:
            self._looked_s = now
            self._look(self.path)
        return self._ring

    def _look(self, path: Path) -> None:
        """A file that is being written, or is gone, leaves the keys as they were: who needs others says so."""
        try:
            found = path.stat()
            if (found.st_mtime_ns, found.st_size) != self._stamp:
                self._read(path)
        except (OSError, ConfigurationError):
            return

    def _read(self, path: Path) -> None:
        name = f"{PREFIX}ENCRYPTION_KEYS_FILE"
        try:
            found = path.stat()
            self._ring = parse_keys(read_text(path, name, mend=_MEND))
        except OSError as error:
            raise ConfigurationError(f"{name}: {path} cannot be read: {error.strerror}; {_MEND}") from None
        except ValueError as error:
            raise ConfigurationError(f"{name}: {path}: {error}") from None
        self._stamp = (found.st_mtime_ns, found.st_size)


class Sealer:
    """Seals new leads, and opens sealed ones whose stored key is at hand."""

    def __init__(self, key_file: KeyFile, *, on: bool) -> None:
        self.key_file, self.on = key_file, on

    def seal(self, event: Event) -> SealedLead:
        """A LeadReceived as it is to be stored, with its wrapped key; in the clear where encryption is off."""
        return seal_lead(event, self.key_file.ring()) if self.on else SealedLead(event)

    def ring_for(self, stored: str | None) -> KeyRing:
        """The keys, looked at again when the stored key needs one that is not known yet."""
        needed = wrapped_by(stored) if stored else ()
        ring = self.key_file.ring()
        missing = [kek for kek in needed if kek != "-" and kek not in ring.keys]
        return self.key_file.ring(missing[0]) if missing else ring

    def open(self, event: Event, stored: str | None) -> Event:
        """Opens one LeadReceived; see `sealed_leads.open_lead`."""
        return open_lead(event, stored, self.ring_for(stored))


def sealer_of(settings: Settings) -> Sealer:
    """The sealer that the settings ask for; `ConfigurationError` when the keys file cannot be used."""
    return Sealer(KeyFile(settings.encryption_keys_file), on=settings.encryption is Encryption.ON)


class Vault:
    """Opens what is stored in Redis. One per client; `sealer` is shared with whoever seals."""

    def __init__(self, client: Client, sealer: Sealer) -> None:
        self._client, self.sealer = client, sealer

    async def stored_keys(self, wanted: Sequence[tuple[int, str]]) -> list[str | None]:
        """The wrapped keys of (partition, lead id) pairs: one HMGET per partition, in one round trip."""
        by_partition: dict[int, list[str]] = {}
        for partition, lead_id in wanted:
            by_partition.setdefault(partition, []).append(lead_id)
        if not by_partition:
            return []
        async with self._client.pipeline(transaction=False) as pipe:
            for partition, lead_ids in by_partition.items():
                pipe.hmget(keys.lead_keys(partition), lead_ids)
            replies: list[list[bytes | None]] = await pipe.execute()
        found = {partition: iter(reply) for partition, reply in zip(by_partition, replies, strict=True)}
        stored = [next(found[partition]) for partition, _ in wanted]
        return [value.decode() if value is not None else None for value in stored]

    async def open(self, entries: Sequence[Entry]) -> list[Entry]:
        """Opens the leads among entries of any streams, in one round trip; other entries stay as they are.

        An entry that does not fit its key has no event any more, and says why, like any that cannot be read.
        """
        sealed = [(at, entry.event) for at, entry in enumerate(entries) if entry.event and needs_key(entry.event)]
        wanted = [(keys.partition_in(entries[at].stream), event.subject) for at, event in sealed]
        out = list(entries)
        for (at, event), stored in zip(sealed, await self.stored_keys(wanted), strict=True):
            try:
                out[at] = replace(entries[at], event=self.sealer.open(event, stored))
            except Malformed as problem:
                out[at] = replace(entries[at], event=None, problem=problem)
        return out

    def reveal(self, lead_id: str, sealed: str, stored: str | None) -> dict[str, Any]:
        """A sealed lead as plain JSON for showing it: its fields, or why there are none."""
        try:
            opened = unwrap(stored or "", lead_id, self.sealer.ring_for(stored))
            if not opened:
                return {"erased": True}
            found: dict[str, Any] = msgspec.json.decode(open_sealed(opened, lead_id, sealed), type=dict[str, Any])
            return found
        except KeyMissing as error:
            return {"locked": error.kek}
        except (Malformed, msgspec.MsgspecError):
            return {"locked": "bad_seal"}
