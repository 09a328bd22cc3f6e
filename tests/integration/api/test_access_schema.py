"""With keys the API does what its document says of keys, too: schemathesis also tries each call without one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from schemathesis import GenerationMode

from tests.integration.api.access_rig import Keys, bearer
from tests.integration.api.test_schema_conformance import LEFT_OUT, operations
from tests.support.process import ServiceProcess
from tests.support.waiting import DEADLINE_S


def test_every_operation_asks_for_a_key_as_the_document_says(
    api_process: Callable[..., tuple[ServiceProcess, str]], redis_url: str, tmp_path: Path
) -> None:
    keys = Keys(tmp_path / "keys.jsonl")
    secret = keys.add("root", "admin")
    process, url = api_process(
        redis_url, LEADSTREAM_API_KEYS_FILE=str(keys.path), LEADSTREAM_DATA_DIR=str(tmp_path / "data")
    )
    document = httpx.get(f"{url}/schema", trust_env=False, timeout=DEADLINE_S).json()
    secured: set[str] = set()

    def check(case: Any) -> None:
        case.call_and_validate(base_url=url, headers=bearer(secret), excluded_checks=LEFT_OUT)
        if case.operation.definition.raw.get("security"):
            secured.add(case.operation.definition.raw["operationId"])

    for operation in operations(schemathesis.openapi.from_dict(document)):
        examples(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck), database=None)(
            given(case=operation.as_strategy(generation_mode=GenerationMode.POSITIVE))(check)
        )()
    assert len(secured) >= 15
    assert process.alive()
    assert "unexpected error" not in process.text()
