"""The API as one ASGI application. It starts whether Redis is up or not, and answers problem+json to every error."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from litestar import HttpMethod, Litestar
from litestar.exceptions import HTTPException

from leadstream_api import (
    batch,
    directory,
    erasing,
    figures,
    health,
    held,
    leads,
    openapi,
    previews,
    redrives,
    unsubscribe,
)
from leadstream_api.access.credentials import LEADS_PATH
from leadstream_api.access.door import Door
from leadstream_api.access.guards import declared
from leadstream_api.access.state import open_access
from leadstream_api.context import open_services
from leadstream_api.dashboard.routes import routes
from leadstream_api.metrics import Metrics
from leadstream_api.problems import on_exception
from leadstream_api.routing import Straight
from leadstream_api.secrets import open_secrets
from leadstream_api.webhooks import routes as webhooks
from leadstream_api.webhooks.setup import Fetch, fetch, open_webhooks
from leadstream_events.settings import Settings

HANDLERS = (
    leads.post_lead,
    leads.get_leads,
    leads.get_lead,
    erasing.delete_lead,
    batch.post_batch,
    directory.get_subscribers,
    directory.post_subscriber,
    directory.get_subscriber,
    directory.patch_subscriber,
    directory.delete_subscriber,
    directory.get_suppressions,
    directory.post_suppression,
    directory.delete_suppression,
    held.post_send_held,
    figures.get_stats,
    figures.get_subscriber_stats,
    figures.get_series,
    figures.get_streams,
    figures.get_dead_letters,
    redrives.post_redrive,
    previews.get_notification,
    previews.get_welcome,
    health.get_live,
    health.get_ready,
    health.get_metrics,
    openapi.get_schema,
)


class _Bare(Litestar):
    """Without the plugins that Litestar adds by itself: bodies and answers are read and written here (`bodies`,
    `answers`), and pydantic's plugin alone imports the whole first version of pydantic."""

    @staticmethod
    def _get_default_plugins(plugins: list[Any]) -> list[Any]:
        return plugins


def create_app(settings: Settings, get: Fetch = fetch) -> Litestar:
    """Returns the application; its lifespan opens and closes every connection. `get` fetches what webhooks ask for.

    Raises `ConfigurationError` when the file of API keys or signing secrets, or the key of a webhook, is wrong.
    """
    access = open_access(settings)
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        async with open_services(settings, metrics) as services:
            app.state.services = services
            try:
                yield
            finally:
                if access.turnstile is not None:
                    await access.turnstile.aclose()

    app = _Bare(
        route_handlers=[*HANDLERS, *webhooks.HANDLERS, unsubscribe.routes(), routes()],
        guards=[declared],
        lifespan=[lifespan],
        exception_handlers={Exception: on_exception, HTTPException: on_exception},
        openapi_config=None,
        logging_config=None,
        debug=False,
    )
    app.state.access = access
    app.state.webhooks = open_webhooks(settings, get)
    open_secrets(app, settings)
    app.asgi_handler = Door(Straight(app, LEADS_PATH, HttpMethod.POST), access, metrics.responded)
    return app
