import re

import pytest

from aiosipcdr.sandbox.catalogue import DESTINATIONS, GROUPS, HOURS, OUTCOMES, Destination

# What regulators keep for fiction, with the country code.
FICTIONAL = re.compile(
    r"1[2-9]\d\d55501\d\d"
    r"|447700900\d{3}|442079460\d{3}|441632960\d{3}"
    r"|61[2378](?:5550|7010)\d{4}"
    r"|3532091\d{5}"
    r"|493023125\d{3}|492214710\d{3}"
    r"|3319900\d{4}|3363998\d{4}"
    r"|46313900[6]\d{2}"
)


@pytest.mark.parametrize("place", DESTINATIONS, ids=lambda place: place.code)
def test_no_number_of_a_destination_could_ring(place: Destination) -> None:
    for digit in "09":
        assert FICTIONAL.fullmatch(place.prefix + digit * place.digits)


def test_no_number_of_a_group_could_ring() -> None:
    for group in GROUPS:
        assert FICTIONAL.fullmatch(group.display)


def test_the_tables_make_calls_realistic() -> None:
    assert {place.bill_period for place in DESTINATIONS} == {"6+6", "1+1", "20+20", "60+60"}
    assert any(not group.name.isascii() for group in GROUPS)
    assert {group.currency for group in GROUPS} >= {None, "EUR", "GBP", "CNY"}
    assert sum(outcome.weight for outcome in OUTCOMES) == 100
    assert len(HOURS) == 24
    assert max(HOURS[9:12]) > 20 * max(HOURS[0:5])
