"""Opens sealed leads in what commands show. An erased lead shows as erased, one whose key is elsewhere as locked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from leadstream_cli.connection import configured
from leadstream_cli.raw_entry import RawEntry
from leadstream_events.sealing import sealed_in

if TYPE_CHECKING:
    from leadstream_events.redis_client import Client
    from leadstream_events.vault import Vault


def vault_of(client: Client) -> Vault:
    """What opens leads here: with the keys file that is configured, if any. It seals nothing."""
    from leadstream_events.vault import KeyFile, Sealer, Vault

    found = configured("encryption_keys_file")
    return Vault(client, Sealer(KeyFile(Path(found.value) if found else None), on=False))


def sealed_part(data: Any) -> Mapping[str, Any] | None:
    """The JSON object that holds a sealed lead: the event's data, or that of the entry in a dead letter."""
    if sealed_in(data):
        return data  # type: ignore[no-any-return]
    fields = data.get("fields") if isinstance(data, dict) else None
    inner = fields.get("data") if isinstance(fields, dict) else None
    return inner if sealed_in(inner) else None


async def reveal(client: Client, entries: Sequence[RawEntry]) -> list[RawEntry]:
    """The entries with their leads opened, in one round trip; all others as they are."""
    sealed = [entry for entry in entries if entry.partition is not None and sealed_part(entry.data)]
    if not sealed:
        return list(entries)
    vault = vault_of(client)
    wanted = [(entry.partition or 0, entry.fields.get("subject", "")) for entry in sealed]
    stored = dict(zip(map(id, sealed), await vault.stored_keys(wanted), strict=True))
    return [_opened(vault, entry, stored[id(entry)]) if id(entry) in stored else entry for entry in entries]


def _opened(vault: Vault, entry: RawEntry, key: str | None) -> RawEntry:
    part = sealed_part(entry.data) or {}
    lead = vault.reveal(entry.fields.get("subject", ""), sealed_in(part) or "", key)
    opened = {**part, "lead": lead}
    if part is entry.data:
        return replace(entry, data=opened)
    return replace(entry, data={**entry.data, "fields": {**entry.data["fields"], "data": opened}})


def opened(vault: Vault, fields: Mapping[bytes, bytes], key: str | None) -> Mapping[bytes, bytes]:
    """The fields of an entry with its lead opened, for masking it; unchanged when it holds none."""
    try:
        data = msgspec.json.decode(fields.get(b"data", b"null")) if key else None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return fields
    sealed = sealed_in(data)
    if sealed is None:
        return fields
    assert isinstance(data, dict)  # noqa: S101  -- it holds a sealed lead
    lead = vault.reveal(fields.get(b"subject", b"").decode(errors="replace"), sealed, key)
    return {**fields, b"data": msgspec.json.encode({**data, "lead": lead})}
