"""Hands leads to leadstream over HTTP: all that a site needs. No dependencies."""

import json
import time
import urllib.error
import urllib.request
from uuid import uuid4


def submit(lead: dict, *, url: str, api_key: str = "", tries: int = 5) -> str:
    """Returns the lead's id once it is stored; raises ValueError with leadstream's words for a lead it refuses.

    Trying again under the same key is safe: the lead is stored once, however often it is sent.
    """
    headers = {"Content-Type": "application/json", "Idempotency-Key": str(uuid4())}
    if api_key:
        headers["Authorization"] = f"Bearer {api_key}"
    request = urllib.request.Request(f"{url}/leads", json.dumps(lead).encode(), headers, method="POST")
    for attempt in range(1, tries + 1):
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return json.load(answer)["lead_id"]
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code != 429:
                raise ValueError(json.load(error)) from None
            if attempt == tries:
                raise
        except OSError:
            if attempt == tries:
                raise
        time.sleep(0.2 * 2**attempt)
    raise AssertionError("unreachable")
