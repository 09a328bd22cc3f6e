"""`leadstream serve`: the services of one machine as children of one parent, which share what it has imported.

The parent imports everything, then forks; it has no loop, no thread and no connection of its own. See
docs/decisions/0025-one-parent.md.
"""

import leadstream_events.lean_imports  # noqa: F401  -- before whatever imports structlog
