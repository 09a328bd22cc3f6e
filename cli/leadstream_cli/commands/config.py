"""`config`: every setting that is in force, and where it came from; secrets masked."""

from __future__ import annotations

import rich_click as click

from leadstream_cli.connection import PREFIX, configured, find_public_url, find_redis_url, find_smtp_url
from leadstream_cli.output import Column, Output, output_options

_COLUMNS = (Column("setting", "SETTING"), Column("value", "VALUE"), Column("source", "FROM"))
_FINDERS = {"redis_url": find_redis_url, "public_url": find_public_url, "smtp_url": find_smtp_url}


def rows() -> list[dict[str, str | None]]:
    """One row per setting; `ConfigurationError` when one is wrong."""
    from leadstream_events.setting_values import mask_url
    from leadstream_events.settings import load_settings

    out = []
    for name, value in load_settings().masked().items():
        found = configured(name)
        source = found.source if found else "default"
        if found is None and name in _FINDERS:
            used = _FINDERS[name]()
            value, source = mask_url(used.value), used.source
        if name == "rate_limit" and value is None:
            value = "off"
        out.append({"setting": PREFIX + name.upper(), "value": value, "source": source})
    return out


@click.command()
@output_options
def config(out: Output) -> None:
    """Show the settings in force and where each one comes from; secrets are masked."""
    found = rows()
    # Settings are the operator's own: an address among them is not a stranger's.
    Output(out.as_json, pii=True).table(found, _COLUMNS, "")
