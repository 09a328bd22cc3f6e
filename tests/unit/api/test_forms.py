"""Web forms become the JSON form of a lead, whatever spelling a site uses."""

from __future__ import annotations

import pytest

from leadstream_api import limits
from leadstream_api.forms import lead_from_fields, multipart_fields, urlencoded_fields
from leadstream_api.problems import Problem, field_error

VEHICLE = {"year": 2020, "make": "Toyota", "model": "Corolla"}


@pytest.mark.parametrize("spelling", ["vehicles[0][{}]", "vehicles[0].{}", "vehicles-0-{}", "vehicles.0.{}"])
def test_vehicles_are_read_in_every_spelling(spelling: str) -> None:
    fields = [(spelling.format(name), str(value)) for name, value in VEHICLE.items()]
    assert lead_from_fields(fields).data == {"vehicles": [VEHICLE]}


@pytest.mark.parametrize("spelling", ["consent[{}]", "consent.{}"])
def test_consent_is_read_in_every_spelling(spelling: str) -> None:
    form = lead_from_fields([(spelling.format("text"), "I agree"), (spelling.format("user_agent"), "Mozilla")])
    assert form.data == {"consent": {"text": "I agree", "user_agent": "Mozilla"}}


def test_a_django_formset_s_management_fields_blank_rows_and_deleted_rows_leave_no_trace() -> None:
    fields = [
        ("vehicles-TOTAL_FORMS", "3"),
        ("vehicles-INITIAL_FORMS", "0"),
        ("vehicles-0-make", "A"),
        ("vehicles-0-DELETE", "on"),
        ("vehicles-1-make", ""),
        ("vehicles-2-make", "B"),
        ("vehicles-2-id", "7"),
        ("csrfmiddlewaretoken", "secret"),
    ]
    assert lead_from_fields(fields).data == {"vehicles": [{"make": "B"}]}


@pytest.mark.parametrize(
    ("text", "value"), [("on", True), ("true", True), ("1", True), ("YES", True), ("off", False), ("0", False)]
)
def test_a_checkbox_is_a_boolean(text: str, value: bool) -> None:
    assert lead_from_fields([("is_homeowner", text)]).data == {"is_homeowner": value}


def test_of_a_hidden_field_and_its_checkbox_the_last_counts() -> None:
    assert lead_from_fields([("is_homeowner", "0"), ("is_homeowner", "1")]).data == {"is_homeowner": True}


def test_blank_values_are_absent() -> None:
    assert lead_from_fields([("city", "  "), ("full_name", "Dana")]).data == {"full_name": "Dana"}


def test_a_field_that_a_lead_does_not_have_is_kept_as_clean_metadata() -> None:
    fields = [
        ("utm_source", "ad"),
        ("metadata[campaign]", "spring"),
        ("x" * 100, "v" * 20_000),
        ("note\x00", "a\r\nb\x07"),
        ("consent", "on"),
        ("vehicles-0-color", "red"),
    ]
    metadata = lead_from_fields(fields).data["metadata"]
    assert metadata == {
        "utm_source": "ad",
        "campaign": "spring",
        "x" * 64: "v" * 10_000,
        "note": "a\nb",
        "consent": "on",
        "vehicles-0-color": "red",
    }


def test_extra_fields_beyond_the_bounds_of_metadata_do_not_lose_the_lead() -> None:
    form = lead_from_fields([(f"extra{number}", "x") for number in range(80)])
    assert len(form.data["metadata"]) == 50


def test_errors_name_the_row_that_the_form_had() -> None:
    form = lead_from_fields([("vehicles[3].make", "A"), ("vehicles[7].make", "B")])
    (error,) = form.relocate([field_error(["vehicles", 1, "year"], "is wrong")])
    assert (error.field, error.pointer) == ("vehicles.7.year", "/vehicles/7/year")


def _multipart(*parts: tuple[str, str, bytes]) -> bytes:
    out = b""
    for name, extra, value in parts:
        head = f'--b\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'
        out += head.encode() + value + b"\r\n"
    return out + b"--b--\r\n"


def test_multipart_fields_are_read_and_an_untouched_file_field_is_ignored() -> None:
    body = _multipart(("full_name", "", "Zoë".encode()), ("photo", '; filename=""', b""))
    assert multipart_fields(body, "b") == [("full_name", "Zoë")]


def test_a_file_is_refused_by_name() -> None:
    with pytest.raises(Problem) as caught:
        multipart_fields(_multipart(("photo", '; filename="a.png"', b"\x89PNG")), "b")
    assert caught.value.status == 422
    assert caught.value.errors[0].field == "photo"


@pytest.mark.parametrize("body", [b"", b"--b", b"no boundary", b'--b\r\nContent-Disposition: form-data; name="a"'])
def test_a_broken_multipart_body_is_unreadable(body: bytes) -> None:
    with pytest.raises(Problem) as caught:
        multipart_fields(body, "b")
    assert caught.value.status == 400


@pytest.mark.parametrize("boundary", ["", "x" * 71, "ö"])
def test_a_broken_boundary_is_unreadable(boundary: str) -> None:
    with pytest.raises(Problem) as caught:
        multipart_fields(b"", boundary)
    assert caught.value.status == 400


def test_too_many_fields_are_too_many_in_both_kinds_of_form() -> None:
    many = limits.FORM_FIELDS + 1
    with pytest.raises(Problem) as caught:
        urlencoded_fields(b"&".join([b"a=1"] * many))
    assert caught.value.status == 413
    with pytest.raises(Problem) as caught:
        multipart_fields(_multipart(*[("a", "", b"1")] * many), "b")
    assert caught.value.status == 413


@pytest.mark.parametrize("body", [b"a=\xff", b"a=%ff", b"%ff=a"])
def test_a_form_that_is_not_utf_8_is_unreadable(body: bytes) -> None:
    with pytest.raises(Problem) as caught:
        urlencoded_fields(body)
    assert caught.value.status == 400
