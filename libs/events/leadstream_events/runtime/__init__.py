"""The consumer runtime: one for every service. Start reading at `consumer.py`."""

import leadstream_events.lean_imports  # noqa: F401  -- before whatever imports structlog
