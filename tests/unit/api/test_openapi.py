"""The OpenAPI document tells of every route, and nothing else."""

from __future__ import annotations

import re
from typing import Any

import jsonschema_rs
from litestar.routes import HTTPRoute

from leadstream_api.app import create_app
from leadstream_api.openapi import document
from leadstream_events.settings import Settings


def test_the_document_names_exactly_the_routes_and_methods_of_the_app() -> None:
    routes = {
        (re.sub(r"\{(\w+):\w+\}", r"{\1}", route.path), method)
        for route in create_app(Settings()).routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        if handler.resolve_include_in_schema()  # pages for browsers are none of its business
        for method in handler.http_methods
        if method not in ("HEAD", "OPTIONS")
    }
    described = {(path, method.upper()) for path, item in document()["paths"].items() for method in item}
    assert described == routes


def _references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*map(_references, value.values()))
    return set().union(*map(_references, value)) if isinstance(value, list) else set()


def test_every_reference_leads_to_a_valid_schema() -> None:
    found = document()
    schemas = found["components"]["schemas"]
    assert _references(found) <= {f"#/components/schemas/{name}" for name in schemas}
    for schema in schemas.values():
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema)


def test_operation_ids_are_unique() -> None:
    ids = [operation["operationId"] for item in document()["paths"].values() for operation in item.values()]
    assert len(ids) == len(set(ids))


def test_every_write_tells_its_limits() -> None:
    bodies = [
        operation["requestBody"]
        for item in document()["paths"].values()
        for operation in item.values()
        if "requestBody" in operation
    ]
    assert len(bodies) == 11
    assert all("At most" in body["description"] for body in bodies)
