"""Where a lead keeps what ADF says and its own fields do not: names of metadata, for reading and writing alike. Pure.

`adf.vehicle.2.odometer` is the odometer of the second vehicle, `adf.vehicle.2.odometer.units` its attribute.
"""

from __future__ import annotations

from typing import Final

PREFIX: Final = "adf."
REQUESTDATE: Final = "adf.requestdate"
COMMENTS: Final = "adf.comments"
WARNINGS: Final = "adf.warnings"
MORE: Final = "adf.more"
COUNTRY: Final = "adf.country"
REGION: Final = "adf.region"
POSTALCODE: Final = "adf.postalcode"
NAME_PARTS: Final = ("first", "middle", "last", "suffix")
# Leaves of a vehicle beside year, make, model and vin, in the order of the format.
BEFORE_ODOMETER: Final = ("stock", "trim", "doors", "bodystyle", "transmission")


def vehicle(number: int, what: str) -> str:
    """The name for something of the vehicle with this number, counted from 1."""
    return f"adf.vehicle.{number}.{what}"


def numbered(what: str, number: int) -> str:
    """The name for one of several: ids, phones, addresses; counted from 1."""
    return f"adf.{what}.{number}"


def name_part(part: str) -> str:
    """The name for a part of the person's name."""
    return f"adf.name.{part}"
