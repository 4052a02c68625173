"""Tables for the call generator: groups, phones, destinations, outcomes, busy hours.

Every telephone number is in a range that a regulator has reserved for fiction; no real number may be added.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Destination:
    """A destination of calls and its price.

    Attributes:
        code: Name of the operator's area, as the vendor writes it.
        prefix: Leading digits of its fictional numbers.
        digits: Number of digits after the prefix.
        price: Ten-thousandths of a dollar per second. A rate is this times 60, so that a cost
            for any number of charged seconds is exact in four decimals.
        bill_period: First charged seconds and step, as the vendor writes it.
        weight: Relative frequency.
    """

    code: str
    prefix: str
    digits: int
    price: int
    bill_period: str
    weight: int


@dataclass(frozen=True, slots=True)
class Group:
    """A group of phones with the currency of its quotes.

    Attributes:
        name: Name of the group.
        display: Number that the called party sees.
        phones: Number of phones.
        currency: Currency of the quotes; None: US dollar.
        exchange: Hundredths of the settlement currency, the account's dollar, for one unit of it.
    """

    name: str
    display: str
    phones: int
    currency: str | None = None
    exchange: int = 100


@dataclass(frozen=True, slots=True)
class CallOutcome:
    """The outcome of a call.

    Attributes:
        code: terminationCode.
        reason: terminationReason.
        weight: Frequency in percent.
        rings: Whether the called phone rings.
        answered: Whether the call is answered.
    """

    code: str
    reason: str
    weight: int
    rings: bool = True
    answered: bool = False


# North America: NPA-555-0100 to 0199. Elsewhere: the numbers that Ofcom, the ACMA, ComReg,
# the Bundesnetzagentur, ARCEP and PTS reserve for film and television.
DESTINATIONS: Final = (
    Destination("United States(New York)", "121255501", 2, 1, "6+6", 9),
    Destination("United States(Chicago)", "131255501", 2, 1, "6+6", 6),
    Destination("United States(Los Angeles)", "121355501", 2, 1, "6+6", 6),
    Destination("Canada(Toronto)", "141655501", 2, 2, "6+6", 5),
    Destination("Canada(Vancouver)", "160455501", 2, 2, "6+6", 3),
    Destination("United Kingdom(Mobile)", "447700900", 3, 5, "1+1", 8),
    Destination("United Kingdom(London)", "442079460", 3, 2, "1+1", 6),
    Destination("United Kingdom(No area)", "441632960", 3, 2, "60+60", 2),
    Destination("Australia(Sydney)", "6125550", 4, 3, "20+20", 5),
    Destination("Australia(Melbourne)", "6137010", 4, 3, "20+20", 4),
    Destination("Ireland(Special)", "3532091", 5, 7, "60+60", 3),
    Destination("Germany(Berlin)", "493023125", 3, 4, "60+60", 5),
    Destination("Germany(Köln)", "492214710", 3, 4, "60+60", 3),
    Destination("France(Paris)", "3319900", 4, 3, "20+20", 4),
    Destination("France(Mobile)", "3363998", 4, 8, "20+20", 3),
    Destination("Sweden(Göteborg)", "4631390060", 1, 200, "60+60", 1),
)

GROUPS: Final = (
    Group("sales-us", "12025550143", 12),
    Group("support-uk", "442079460018", 8, "GBP", 127),
    Group("retail-de", "493023125004", 6, "EUR", 109),
    Group("collections", "13125550188", 8),
    Group("客服一组", "61255500042", 5, "CNY", 14),
    Group("ops night shift", "353209100007", 3),
)

OUTCOMES: Final = (
    CallOutcome("200", "success", 60, answered=True),
    CallOutcome("487", "no answer", 18),
    CallOutcome("486", "busy", 8),
    CallOutcome("486", "busy", 4, rings=False),
    CallOutcome("404", "number not found", 5, rings=False),
    CallOutcome("503", "service unavailable", 3, rings=False),
    CallOutcome("408", "request timeout", 2, rings=False),
)

# Relative load of each hour of the day: low at night, with a dip at noon.
HOURS: Final = (
    *(2, 1, 1, 1, 1, 2, 6, 18, 55, 90, 100, 96),
    *(62, 84, 98, 94, 86, 70, 42, 26, 16, 10, 6, 3),
)
WEEKEND: Final = 0.3
