"""The secrets that sign links, as this process knows them: from the settings, or asked of Redis once."""

from __future__ import annotations

from collections.abc import Sequence

from litestar import Litestar

from leadstream_api.context import Services, redis_errors
from leadstream_api.routing import Incoming
from leadstream_events.settings import Settings
from leadstream_events.signing import configured, signing_secrets


def open_secrets(app: Litestar, settings: Settings) -> None:
    """Raises `ConfigurationError` at the start, when the file of secrets is wrong, and not with the first link."""
    app.state.signing_secrets = configured(settings)


async def secrets_of(request: Incoming, services: Services) -> Sequence[bytes]:
    """Returns the secrets; a 503 when only Redis knows them and does not answer."""
    state = request.app.state
    if not state.signing_secrets:
        async with redis_errors(services):
            state.signing_secrets = await signing_secrets(services.client, services.settings)
    known: Sequence[bytes] = state.signing_secrets
    return known
