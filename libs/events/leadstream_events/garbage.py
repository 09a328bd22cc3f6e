"""Keeps Python's garbage collector off what a service has loaded once and needs for ever."""

from __future__ import annotations

import gc

# A batch's objects are all alive and end without the collector's help, yet 700 new ones (Python's default) start a
# collection that walks them: 8 % of projections' CPU, 6 % of the API's, 5 % of fan-out's. Only cycles wait for longer.
_NEW_OBJECTS = 10_000


def keep_what_is_loaded() -> None:
    """Clears up, and leaves everything that is there now out of later collections.

    Call it once per process, when everything is imported. A full collection of an API's 100,000 objects stops its loop
    for 55 ms; without them it takes less than one. Later collections begin at 10,000 new objects.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, *gc.get_threshold()[1:])
