"""The API."""

import leadstream_events.lean_imports  # noqa: F401  -- before whatever imports structlog
