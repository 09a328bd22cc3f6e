"""A lead that nobody is, with every field filled: what templates are checked with and previews show."""

from __future__ import annotations

from datetime import UTC, date, datetime

from leadstream_events.schemas.lead import Consent, Lead, Vehicle

SAMPLE_ID = "00000000-0000-7000-8000-000000000000"
SAMPLE_TIME = datetime(2026, 1, 31, 9, 5, tzinfo=UTC)
SAMPLE_LEAD = Lead(
    full_name="Dana Example",
    email="dana@example.com",
    phone_number="+1 202 555 0143",
    address="1 Main Street",
    city="Springfield",
    state="CA",
    zip_code="90001",
    birth_date=date(1990, 1, 31),
    tickets_past_year=0,
    accidents_past_year=1,
    is_homeowner=True,
    vehicles=(
        Vehicle(year=2021, make="Example", model="Wagon", vin="1M8GDM9AXKP042788"),
        Vehicle(year=2017, make="Sample", model="Coupe"),
    ),
    source="a made-up lead",
    consent=Consent(text="Yes.", url="https://example.com/", ip="192.0.2.1", user_agent="-", time=SAMPLE_TIME),
    metadata={"campaign": "winter", "score": 1.5, "returning": False, "note": None},
)
