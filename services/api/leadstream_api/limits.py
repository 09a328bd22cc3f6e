"""What the API takes at most. Every number here stands in the OpenAPI document too."""

from __future__ import annotations

LEAD_BYTES = 256 * 1024
BATCH_BYTES = 32 * 1024 * 1024
BATCH_LINES = 10_000
BATCH_CONCURRENCY = 64
FORM_FIELDS = 200
RECORD_BYTES = 64 * 1024  # subscribers and suppressions
UNSUBSCRIBE_BYTES = 16 * 1024
WEBHOOK_BYTES = 2 * 1024 * 1024
BODY_DEADLINE_S = 60.0  # a body that trickles in longer than this is given up
PAGE_DEFAULT = 50
PAGE_MAX = 200
KEY_CHARS = 255
RETRY_AFTER_S = 2
