"""Writes docs/configuration.md from the settings themselves: `python -m leadstream_events.settings_reference`."""

from __future__ import annotations

import sys

from leadstream_events.settings import PREFIX, Settings

_HEAD = """# Configuration

Made from the code by `make configuration`; a test holds the two together.

Settings come from environment variables with the prefix `LEADSTREAM_`, or from the same keys in `leadstream.toml` in
the working directory (another file: `LEADSTREAM_CONFIG`). The environment wins. Durations are written `500ms`,
`60s`, `2m`, `1h`; a plain number is seconds. `leadstream config` prints what is in force and where it comes from.

| variable | default | |
|---|---|---|
"""


def _shown(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value * 1000:g}ms" if value < 1 else f"{value:g}s"
    if isinstance(value, tuple):
        return ",".join(_shown(item) for item in value) or "none"
    return f"{value}" or "none"


def _cell(text: str) -> str:
    """A text as a cell: in one line, and its bars are none between cells."""
    return " ".join(text.split()).replace("|", "\\|")


def reference() -> str:
    """Returns the page; every default as a person would write it."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = field.get_default()
        secret = getattr(default, "get_secret_value", None)
        shown = secret() if secret else _shown(default)
        rows.append(f"| `{PREFIX}{name.upper()}` | `{_cell(shown)}` | {_cell(field.description or '')} |")
    return _HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.stdout.write(reference())
