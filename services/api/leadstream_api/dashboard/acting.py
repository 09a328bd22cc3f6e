"""What a person does on a page, with his name and his reason."""

from __future__ import annotations

from collections.abc import Mapping

from leadstream_api.context import services_of
from leadstream_api.dashboard.viewer import viewer_of
from leadstream_api.routing import Incoming
from leadstream_events.redrive import Redriver
from leadstream_events.redrive_rules import Actor
from leadstream_events.text import single_line

REASON_CHARS = 300


def redriver_of(request: Incoming) -> Redriver:
    """What redrives, drops and settles."""
    services = services_of(request)
    return Redriver(services.log, lease_s=services.settings.lease)


def reason_in(fields: Mapping[str, str]) -> str:
    """The reason that was typed, on one line; '' when there is none that can be kept."""
    try:
        return single_line(fields.get("reason", ""))[:REASON_CHARS]
    except ValueError:
        return ""


def actor_of(request: Incoming, fields: Mapping[str, str]) -> Actor:
    """Who asks, and why."""
    return Actor(viewer_of(request).name, reason_in(fields))
