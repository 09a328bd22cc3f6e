"""Every route of the dashboard, behind one error handler that answers people with pages."""

from __future__ import annotations

from litestar import Router
from litestar.exceptions import HTTPException

from leadstream_api.access import login
from leadstream_api.access.login import LoginPage
from leadstream_api.dashboard import (
    assets,
    dead,
    imports,
    leads,
    overview,
    previews,
    sse,
    streams,
    subscribers,
    suppressions,
)
from leadstream_api.dashboard.pages import on_error, templates


def login_page(page: LoginPage) -> str:
    """The login in the dashboard's clothes."""
    return templates().render_template("login.html", title="Log in", next=page.next, error=page.error)


def routes() -> Router:
    """The routes, made anew for each app: a router belongs to one."""
    return Router(
        path="/",
        route_handlers=[
            overview.get_overview,
            sse.get_events,
            assets.get_asset,
            leads.get_leads,
            leads.get_lead,
            leads.post_mail,
            leads.post_erase,
            dead.get_letters,
            dead.get_redrive,
            dead.post_redrive,
            dead.post_letter,
            imports.get_import,
            imports.post_import,
            subscribers.get_subscribers,
            subscribers.get_new,
            subscribers.post_new,
            subscribers.get_subscriber,
            subscribers.post_subscriber,
            subscribers.post_action,
            suppressions.get_suppressions,
            suppressions.post_suppression,
            suppressions.post_release,
            suppressions.post_send_held,
            previews.get_previews,
            streams.get_streams,
            *login.handlers(login_page),
        ],
        exception_handlers={Exception: on_error, HTTPException: on_error},
    )
