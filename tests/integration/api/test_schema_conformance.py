"""The API does what its OpenAPI document says, tried by schemathesis on a real process: no 500, no undocumented answer.

`positive_data_acceptance` is left out: that an address is an address, or that a name has no control character, cannot
be said in JSON Schema. `FUZZ_EXAMPLES` sets the examples per operation and mode.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from leadstream_api.bodies import NDJSON
from leadstream_api.openapi import document
from tests.support.process import ServiceProcess

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "8"))
LEFT_OUT = [positive_data_acceptance]


@schemathesis.serializer(*NDJSON)
def as_text(context: schemathesis.SerializationContext, value: Any) -> bytes:
    return str(value).encode("utf-8", "replace")


def operations(schema: Any) -> Iterator[Any]:
    for result in schema.get_all_operations():
        yield result.ok()


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: str(mode.value))
def test_every_operation_does_what_the_document_says(
    api_process: Callable[..., tuple[ServiceProcess, str]],
    redis_url: str,
    mode: GenerationMode,
    record_property: Callable[[str, object], None],
) -> None:
    process, url = api_process(redis_url)
    tried = 0

    def check(case: Any) -> None:
        nonlocal tried
        answer = case.call(base_url=url)
        # A batch is text, and no text is of a wrong type: its lines are judged one by one. A body that is too large
        # (413) is refused too, which the check does not know of.
        judged = case.operation.path != "/leads/batch" and answer.status_code != 413
        case.validate_response(answer, excluded_checks=[*LEFT_OUT, *([] if judged else [negative_data_rejection])])
        tried += 1

    for operation in operations(schemathesis.openapi.from_dict(document())):
        if mode is GenerationMode.NEGATIVE and not _has_input(operation):
            continue
        run = examples(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)(
            given(case=operation.as_strategy(generation_mode=mode))(check)
        )
        run()
    record_property("examples", tried)
    assert tried >= 10
    assert process.alive()
    assert "unexpected error" not in process.text()


def _has_input(operation: Any) -> bool:
    """Without a query or a body there is nothing to get wrong, nor where any JSON goes (`{}`)."""
    definition = operation.definition.raw
    queries = [each for each in definition.get("parameters", ()) if each["in"] != "path"]
    bodies = [each["schema"] for each in definition.get("requestBody", {}).get("content", {}).values()]
    return bool(queries or any(bodies))
