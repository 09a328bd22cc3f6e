"""ADF documents from strangers (cases 037, 038 and their siblings) and the two documents of the collection."""

from __future__ import annotations

import html
import json
import os
import re
import socket
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from leadstream_events.settings import Settings
from tests.cases.pipeline import Pipeline, pipeline
from tests.integration.api.conftest import api_client
from tests.unit.mailer.mails import parsed, parts

ADF = "application/x-adf+xml"
TYPES = (ADF, "application/xml", "text/xml")
HEAD = '<?xml version="1.0"?>'
REST = (
    "<adf><prospect><requestdate>2026-01-01T00:00:00Z</requestdate><vehicle><year>2020</year><make>{make}</make>"
    "<model>m</model></vehicle><customer><contact><name part='full'>a</name><email>a@example.com</email></contact>"
    "</customer></prospect></adf>"
)
MODERN = """<?xml version="1.0" encoding="UTF-8"?>
<?adf version="1.0"?>
<adf>
 <prospect status="new">
  <id sequence="1" source="Town Portal">TP-12</id>
  <id sequence="2" source="Town Router">R-5</id>
  <requestdate>2026-03-28T18:05:09-05:00</requestdate>
  <vehicle interest="trade-in" status="used">
   <year>2009</year><make>Oldmake</make><model>Mini-S</model><vin></vin><odometer units="mi">121300</odometer>
  </vehicle>
  <vehicle interest="buy" status="used">
   <year>2021</year><make>Example &amp; Sons</make><model>Wagon GT</model><vin>1M8GDM9AXKP042788</vin>
   <stock>A-1</stock><trim>Sport</trim><odometer status="original" units="mi">80,000</odometer>
   <price type="asking" currency="USD">18500.00</price>
  </vehicle>
  <customer><contact primarycontact="1">
   <name part="first">Zoë</name><name part="middle"></name><name part="last">Example-O'Brien</name>
   <email>second@example.com</email><email preferredcontact="1">zoe+cars@example.com</email>
   <phone type="voice" time="morning">(202) 555-0143</phone><phone type="cellphone">+1 202 555 0144</phone>
   <address><street line="2">Unit 5</street><street line="1">1 Sample Street</street><city>Testville</city>
    <regioncode>IL</regioncode><postalcode>00000</postalcode><country>US</country></address>
  </contact>
  <comments><![CDATA[Is it <b>still</b> there?<br />
Price < 18k & cash. {{7*7}}]]></comments></customer>
  <vendor><vendorname>Town Motors</vendorname></vendor>
  <provider><name part="full" type="business">Town Portal Inc.</name><service>Used cars</service></provider>
 </prospect>
</adf>
"""
LEGACY = """<?ADF VERSION "1.0"?>
<?XML VERSION "1.0"?>
<adf>
<prospect>
<id sequence=1 source="Old Form">55</id>
<requestdate>11/25/2026 4:30 PM</requestdate>
<vehicle><year>21</year><make>Smith & Co</make><model>Pickup&nbsp;XL</model><price>$23,499</price></vehicle>
<customer><contact><name part="first">Pat</name><name part="last">Sample</name><email>pat@example.com</email>
<phone>202.555.0146 ext 9</phone></contact></customer>
<vendor><vendorname>Old Motors</vendorname></vendor>
</prospect>
</adf>
"""
REFUSED = {
    "037 external entity": HEAD
    + '<!DOCTYPE adf [<!ENTITY x SYSTEM "file:///proc/sys/kernel/hostname">]>'
    + REST.format(make="&x;"),
    "external document type": HEAD + '<!DOCTYPE adf SYSTEM "http://127.0.0.1:{port}/adf.dtd">' + REST.format(make="m"),
    "parameter entity": HEAD
    + '<!DOCTYPE adf [<!ENTITY % p SYSTEM "http://127.0.0.1:{port}/p">%p;]>'
    + REST.format(make="m"),
    "entities that multiply": HEAD
    + '<!DOCTYPE adf [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]>'
    + REST.format(make="&b;"),
    "document type after a wrong prolog": '<?ADF VERSION "1.0"?><!doctype adf [<!entity x SYSTEM "file:///proc/version">]>'
    + REST.format(make="&x;"),
    "too deep": HEAD + "<adf>" * 200 + "</adf>" * 200,
    "too many elements": HEAD + "<adf>" + "<a/>" * 20_000 + "</adf>",
    "an encoding that nobody reads": '<?xml version="1.0" encoding="utf-7"?>' + REST.format(make="m"),
    "no end": "<adf><prospect>",
    "no XML": "a lead",
    "nothing": "",
    "another document": "<html><body>adf</body></html>",
    "two prospects": "<adf><prospect/><prospect/></adf>",
}


@pytest.mark.parametrize("document", REFUSED.values(), ids=REFUSED.keys())
async def test_a_document_that_is_not_read_is_one_clear_refusal_and_nothing_of_it_is_fetched(
    settings: Settings, raw: Redis, document: str
) -> None:
    """Case 037: no file, no connection, no trace in an answer or in Redis."""
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.setblocking(False)
        document = document.replace("{port}", str(trap.getsockname()[1]))
        async with api_client(settings) as api:
            for content_type in TYPES:
                answer = await api.post("/leads", content=document.encode(), headers={"content-type": content_type})
                assert answer.status_code == 400
                assert re.fullmatch("urn:leadstream:problem:xml-(forbidden|not-well-formed)", answer.json()["type"])
                assert "ADF" in answer.json()["detail"]
                assert socket.gethostname() not in answer.text
        with pytest.raises(BlockingIOError):
            trap.accept()
    assert not await raw.keys("leadstream:{0}:*")


async def test_a_type_that_is_no_adf_is_a_415_that_says_what_is_taken(settings: Settings) -> None:
    async with api_client(settings) as api:
        answer = await api.post("/leads", content=MODERN.encode(), headers={"content-type": "text/plain"})
        assert answer.status_code == 415
        assert ADF in answer.headers["accept-post"]


async def submitted(house: Pipeline, document: str) -> dict[str, Any]:
    answer = await house.api.post("/leads", content=document.encode(), headers={"content-type": ADF})
    assert answer.status_code == 202, answer.text
    shown: dict[str, Any] = (await house.api.get(answer.json()["location"])).json()["lead"]
    return shown


def facts(lead: dict[str, Any]) -> dict[str, Any]:
    """The lead in the words of the collection's expectations."""
    said = lead["metadata"]
    vehicles = []
    for number, each in enumerate(lead["vehicles"], 1):
        key = f"adf.vehicle.{number}"
        odometer, price = said.get(f"{key}.odometer"), said.get(f"{key}.price")
        vehicles.append(
            {name: each[name] for name in ("year", "make", "model", "vin")}
            | {name: said.get(f"{key}.{name}") for name in ("interest", "status", "stock", "trim")}
            | {"odometer": odometer and {"value": int(odometer), "units": said.get(f"{key}.odometer.units")}}
            | {
                "price": price
                and {"amount": price, "currency": said.get(f"{key}.price.currency"), "type": said[f"{key}.price.type"]}
            }
        )
    numbers = [lead["phone_number"], *(said.get(f"adf.phone.{number}") for number in range(2, 9))]
    return {
        "source_ids": [[said[f"adf.id.{n}.source"], said[f"adf.id.{n}"]] for n in range(1, 9) if f"adf.id.{n}" in said],
        "requestdate_utc": said.get("adf.requestdate", "").replace("+00:00", "Z") or None,
        "vehicles": vehicles,
        "contact": {
            "name": lead["full_name"],
            "first": said.get("adf.name.first"),
            "last": said.get("adf.name.last"),
            "email": lead["email"],
            "phones": [
                {"type": said[f"adf.phone.{number}.type"], "raw": phone}
                for number, phone in enumerate(numbers, 1)
                if phone
            ],
        },
        "comments": said.get("adf.comments"),
        "vendor": said.get("adf.vendor"),
        "provider": said.get("adf.provider"),
    }


async def test_a_document_becomes_a_lead_whose_mail_names_the_wanted_vehicle_and_shows_comments_as_text(
    settings: Settings,
) -> None:
    async with pipeline(settings.model_copy(update={"welcome": False})) as house:
        await house.subscriber()
        lead = await submitted(house, MODERN)
        assert (lead["full_name"], lead["email"], lead["source"]) == (
            "Zoë Example-O'Brien",
            "zoe+cars@example.com",
            "Town Portal Inc.",
        )
        assert (lead["address"], lead["city"], lead["state"], lead["zip_code"]) == (
            "1 Sample Street, Unit 5",
            "Testville",
            "IL",
            "00000",
        )
        found = facts(lead)
        assert found["requestdate_utc"] == "2026-03-28T23:05:09Z"
        assert [each["interest"] for each in found["vehicles"]] == ["buy", "trade-in"]
        assert found["vehicles"][0]["odometer"] == {"value": 80000, "units": "mi"}
        assert found["vehicles"][0]["price"] == {"amount": "18500.00", "currency": "USD", "type": "asking"}
        assert found["contact"]["phones"][1] == {"type": "cellphone", "raw": "+1 202 555 0144"}
        assert lead["metadata"]["adf.email.2"] == "second@example.com"
        assert lead["metadata"]["adf.provider.service"] == "Used cars"
        await house.settled()
        (mail,) = house.smtp.mails
        subject = str(parsed(mail.data)["Subject"])
        assert "Wagon GT" in subject and "Mini-S" not in subject
        text, markup = parts(mail.data)
        assert "{{7*7}}" in text and "Is it <b>still</b> there?" in text
        assert "<b>still</b>" not in markup and "&lt;b&gt;still" in markup


async def test_a_document_that_is_not_well_formed_is_mended_and_says_so(settings: Settings) -> None:
    """Case 038: never dropped; the date that may mean two days is the arrival's, and kept as it was written."""
    async with pipeline(settings.model_copy(update={"welcome": False})) as house:
        await house.subscriber()
        lead = await submitted(house, LEGACY)
        said = lead["metadata"]
        assert said["adf.warnings"] == "xml_repaired, requestdate_ambiguous, two_digit_year, no_currency"
        assert said["adf.requestdate.given"] == "11/25/2026 4:30 PM"
        found = facts(lead)
        assert found["vehicles"][0] | {} == {
            **dict.fromkeys(("vin", "stock", "trim", "odometer")),
            **{"year": 2021, "make": "Smith & Co", "model": "Pickup XL", "interest": "buy", "status": "new"},
            "price": {"amount": "23499", "currency": None, "type": "quote"},
        }
        assert found["source_ids"] == [["Old Form", "55"]]
        assert found["requestdate_utc"] is None
        await house.settled()
        assert len(house.smtp.mails) == 1


def collection() -> list[tuple[str, dict[str, Any]]]:
    """The documents in the folder ADF_CASES, each with what is expected of it."""
    paths = sorted(Path(os.environ.get("ADF_CASES", "/nonexistent")).glob("*.xml"))
    return [(path.read_text("utf-8"), json.loads(path.with_suffix(".json").read_text("utf-8"))) for path in paths]


async def test_the_documents_of_the_collection_give_what_it_expects(settings: Settings) -> None:
    """Needs ADF_CASES, the folder of the two documents; what both documents show stands in the tests above."""
    documents = collection()
    if not documents:
        pytest.skip("ADF_CASES does not name the folder of the documents")
    async with pipeline(settings) as house:
        for document, expected in documents:
            expected = expected.get("if_repaired", expected)
            lead = await submitted(house, document)
            found, (wanted,) = facts(lead), expected["leads"]
            for each in wanted["vehicles"]:
                each["vin"] = each["vin"] and each["vin"].upper()
            assert found == wanted
            warnings = lead["metadata"].get("adf.warnings", "")
            assert [word for word in warnings.split(", ") if word] == expected["warnings"]


WRONG = {
    "/adf/prospect/vehicle/year": ("<year>2020</year>", "<year>1776</year>"),
    "/adf/prospect/vehicle/make": ("<make>b</make>", f"<make>{'b' * 65}</make>"),
    "/adf/prospect/customer/contact/email": ("a@example.com", "nobody"),
    "/adf/prospect/customer/contact/name": ("<name part='full'>a</name>", ""),
    "/adf/prospect/customer/comments": ("</contact>", f"</contact><comments>{'x' * 10_001}</comments>"),
    "/adf/prospect/vehicle[2]/year": (
        "</vehicle>",
        "</vehicle><vehicle><year>1009</year><make>a</make><model>b</model></vehicle>",
    ),
}


@pytest.mark.parametrize("path", WRONG)
async def test_an_error_names_the_element(settings: Settings, raw: Redis, path: str) -> None:
    before, after = WRONG[path]
    document = REST.format(make="b").replace(before, after)
    async with api_client(settings) as api:
        answer = await api.post("/leads", content=document.encode(), headers={"content-type": ADF})
        assert answer.status_code == 422, answer.text
        assert [error["pointer"] for error in answer.json()["errors"]] == [path]
    assert not await raw.keys("leadstream:{0}:*")


async def test_a_document_is_taken_once_under_its_idempotency_key(settings: Settings, raw: Redis) -> None:
    async with api_client(settings) as api:
        headers = {"content-type": ADF, "idempotency-key": "k1"}
        first = await api.post("/leads", content=MODERN.encode(), headers=headers)
        again = await api.post("/leads", content=html.unescape("&#xFEFF;") + MODERN, headers=headers)
        other = await api.post("/leads", content=MODERN.replace("Sport", "Base").encode(), headers=headers)
        assert (first.status_code, again.status_code, other.status_code) == (202, 202, 409)
        assert first.json()["lead_id"] == again.json()["lead_id"]
        assert again.headers["idempotent-replayed"] == "true"
    assert await raw.xlen("leadstream:{0}:leads") == 1
