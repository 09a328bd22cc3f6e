"""Style, script and icon: served under names that hold a hash of their content, so that browsers may keep them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from litestar import Response

from leadstream_api.access import open_to_all
from leadstream_api.problems import Problem
from leadstream_api.routing import Answer, Incoming, path_value, read

_FOLDER = Path(__file__).parent / "static"
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_KEEP = "public, max-age=31536000, immutable"


def _load() -> dict[str, tuple[str, bytes, str]]:
    out = {}
    for path in sorted(_FOLDER.iterdir()):
        if path.suffix in _TYPES:
            content = path.read_bytes()
            digest = hashlib.blake2b(content, digest_size=6).hexdigest()
            out[path.stem] = (f"{path.stem}-{digest}{path.suffix}", content, _TYPES[path.suffix])
    return out


_FILES = _load()
URLS = {stem: f"/ui/assets/{name}" for stem, (name, _, _) in _FILES.items()}
_BY_NAME = {name: (content, kind) for name, content, kind in _FILES.values()}


@read("/ui/assets/{name:str}", open_to_all, documented=False)
async def get_asset(request: Incoming) -> Answer:
    """One file; open to all, since the login page needs it and it says nothing."""
    found = _BY_NAME.get(path_value(request, "name"))
    if found is None:
        raise Problem(404, "not-found", "There is no such file")
    content, kind = found
    return Response(content, media_type=kind, headers={"Cache-Control": _KEEP})
