"""Options that take a duration."""

from __future__ import annotations

import rich_click as click


def duration(_: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """Reads `500ms`, `60s`, `2m`, `1h` or `7d` as seconds, for an option's `callback`; None stays None."""
    from leadstream_events.setting_values import parse_duration

    if value is None:
        return None
    try:
        return parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error), param=parameter) from None
