"""A stored entry as plain values, for reading commands: no schema is imported, and no entry is too broken to show."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from leadstream_cli.queries import ms_of, short_name

_ENVELOPE = ("id", "type", "v", "time", "subject", "cause", "trace")


@dataclass(frozen=True, slots=True)
class RawEntry:
    """One entry. `data` is its JSON, or the text itself when it is none."""

    key: str
    partition: int | None
    entry_id: str
    fields: Mapping[str, str]
    data: Any

    @property
    def type(self) -> str:
        """The event's type; `?` when the entry has none."""
        return self.fields.get("type", "?")

    @property
    def place(self) -> str:
        """How `show` takes it: `leads/1700000000000-0`, with the partition before it when that is not 0."""
        name = f"{short_name(self.key)}/{self.entry_id}"
        return f"{self.partition}/{name}" if self.partition else name

    @property
    def stored_ms(self) -> int:
        """When the server stored it."""
        return ms_of(self.entry_id)

    def row(self) -> dict[str, Any]:
        """The entry for `--json`: the envelope's fields as stored, `data` parsed."""
        known = {name: self.fields[name] for name in _ENVELOPE if name in self.fields}
        other = {name: value for name, value in self.fields.items() if name not in _ENVELOPE and name != "data"}
        place = {"stream": short_name(self.key), "partition": self.partition, "entry": self.entry_id}
        return place | known | {"data": self.data} | ({"other": other} if other else {})


def raw_entry(key: str, partition: int | None, entry_id: bytes, fields: Mapping[bytes, bytes]) -> RawEntry:
    """Reads what XRANGE gave; bytes that are not UTF-8 show as \\x escapes."""
    texts = {_text(name): _text(value) for name, value in fields.items()}
    try:
        data = json.loads(texts.get("data", "null"))
        if isinstance(data, dict) and isinstance(data.get("fields"), dict):
            data["fields"] = _nested(data["fields"])
    except (ValueError, RecursionError):
        data = texts.get("data")
    return RawEntry(key, partition, entry_id.decode(), texts, data)


def _nested(fields: dict[str, Any]) -> dict[str, Any]:
    """The original entry inside a dead letter, its JSON parsed too, so that masking sees field names."""
    try:
        return {name: json.loads(value) if name == "data" else value for name, value in fields.items()}
    except (ValueError, TypeError, RecursionError):
        return fields


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")


def find_field(value: Any, name: str) -> list[Any]:
    """Every value of a field anywhere in a JSON value; a dotted name is a path from the top."""
    if "." in name:
        for part in name.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        return [] if value is None else [value]
    out: list[Any] = []
    if isinstance(value, Mapping):
        out += [value[name]] if name in value else []
        for item in value.values():
            out += find_field(item, name)
    elif isinstance(value, list):
        for item in value:
            out += find_field(item, name)
    return out


def same(value: Any, wanted: str) -> bool:
    """True when a JSON value reads like what was typed."""
    if isinstance(value, bool):
        return wanted.lower() in (("true", "yes", "1") if value else ("false", "no", "0"))
    if isinstance(value, list):
        return any(same(item, wanted) for item in value)
    return str(value).casefold() == wanted.casefold()
