"""Has the next page fetched while this one is worked on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeVar

from leadstream_events.tasks import end

T = TypeVar("T")


async def read_ahead(pages: AsyncIterator[T]) -> AsyncGenerator[T, None]:
    """Yields what `pages` yields, one page later than it is asked for; errors come out at their place."""
    ahead = asyncio.create_task(_next(pages))
    try:
        while (page := await ahead) is not None:
            ahead = asyncio.create_task(_next(pages))
            await asyncio.sleep(0)  # the request goes out before this page is worked on
            yield page
    finally:
        await end(ahead)


async def _next(pages: AsyncIterator[T]) -> T | None:
    return await anext(pages, None)
