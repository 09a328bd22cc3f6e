"""Access control: API keys with scopes, browser sessions, limits, and what browsers may do with the answers.

Routes declare `guards=[require(Scope.READ)]` or `guards=[open_to_all]` (or stand in a group that does, see `app.py`);
a route that declares nothing is closed. Handlers ask `current(request)` who calls, and pages put `csrf_token(request)`
into their forms.
"""

from __future__ import annotations

from leadstream_api.access.guards import csrf_token, current, open_to_all, require, still_may
from leadstream_api.access.scopes import Principal, Scope, Via

__all__ = ["Principal", "Scope", "Via", "csrf_token", "current", "open_to_all", "require", "still_may"]
