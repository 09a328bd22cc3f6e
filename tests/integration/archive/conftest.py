"""Archives on disk and in an object store's memory."""

from __future__ import annotations

from pathlib import Path

import obstore.store
import pytest

from leadstream_archive.archive import Archive
from leadstream_archive.stores import DiskStore, ObjectStore


@pytest.fixture(params=["disk", "objects"])
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Archive:
    """An empty archive, once per kind of store."""
    if request.param == "disk":
        return Archive(DiskStore(tmp_path / "archive"), "a folder")
    return Archive(ObjectStore(obstore.store.MemoryStore()), "memory")
