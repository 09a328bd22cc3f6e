"""Every error is one problem document that names fields and repeats no value."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from leadstream_api.problems import Problem, field_error, problem_of
from leadstream_events.errors import Backpressure, RedisCause
from leadstream_events.schemas.lead import Lead


def refused(body: str) -> Problem:
    with pytest.raises(ValidationError) as caught:
        Lead.model_validate_json(body, strict=True)
    return problem_of(caught.value)


def test_a_wrong_field_is_named_dotted_and_as_a_json_pointer() -> None:
    vehicle = '{"year":2020,"make":"a","model":"b"}'
    bad = vehicle.replace("2020", '"x"')
    problem = refused(f'{{"full_name":"A","email":"a@example.com","vehicles":[{vehicle},{vehicle},{bad}]}}')
    assert problem.status == 422
    assert [(error.field, error.pointer) for error in problem.errors] == [("vehicles.2.year", "/vehicles/2/year")]


def test_a_pointer_escapes_what_rfc_6901_escapes() -> None:
    assert field_error(["a/b", "c~d"], "").pointer == "/a~1b/c~0d"


def test_broken_json_says_where() -> None:
    problem = refused('{"full_name":\n oops}')
    assert problem.status == 400
    assert "line 2 column" in problem.detail


def test_a_metadata_value_of_a_wrong_type_is_one_error() -> None:
    problem = refused('{"full_name":"A","email":"a@example.com","metadata":{"k":[1]}}')
    assert [error.field for error in problem.errors] == ["metadata.k"]


def test_no_answer_repeats_what_was_sent() -> None:
    problem = refused('{"full_name":"SECRET\\u0007","email":"SECRET \\"SECRET\\" @SECRET","state":"SECRET"}')
    assert {error.field for error in problem.errors} == {"full_name", "email", "state"}
    assert "SECRET" not in json.dumps(problem.body())


def test_redis_trouble_is_a_503_that_says_why_and_when_to_come_back() -> None:
    problem = problem_of(Backpressure(RedisCause.READONLY))
    assert problem.status == 503
    assert "readonly" in problem.detail
    assert int(problem.headers["Retry-After"]) > 0


def test_a_bug_is_a_500_without_its_text() -> None:
    problem = problem_of(ZeroDivisionError("SECRET"))
    assert problem.status == 500
    assert "SECRET" not in json.dumps(problem.body())
