"""The client that a command asks for, built from its arguments.

Imports the client, and with it aiohttp, only when it is called.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from aiosipcdr.cli.argument_errors import UsageError
from aiosipcdr.cli.options import Network, Proof, plan_client
from aiosipcdr.cli.settings import Settings
from aiosipcdr.events import EventHook
from aiosipcdr.policy.retry import RetryPolicy

if TYPE_CHECKING:
    from aiosipcdr.client import CdrClient

__all__ = ["Pace", "build_client"]


@Parameter(name="*", group="Pace")
@dataclass(frozen=True, kw_only=True)
class Pace:
    """How hard to ask.

    Attributes:
        concurrency: Requests on the way at the same time.
        page_size: Calls in one answer, at most 100.
        rate: At most so many requests a second; without it, as fast as the answers come.
        count_delay: Seconds that the control count of a young window waits, for counts that lag behind rows.
    """

    concurrency: Annotated[int, Parameter(validator=Number(gte=1, lte=64))] = 8
    page_size: Annotated[int, Parameter(validator=Number(gte=1, lte=100))] = 100
    rate: Annotated[float | None, Parameter(validator=Number(gt=0))] = None
    count_delay: Annotated[float, Parameter(validator=Number(gte=0, lte=3600))] = 1.0


def build_client(
    settings: Settings,
    pace: Pace,
    hook: EventHook | None = None,
    retry: RetryPolicy = RetryPolicy(),
    *,
    network: Network = Network(),  # noqa: B008 - frozen
    proof: Proof = Proof(),  # noqa: B008 - frozen
) -> "CdrClient":
    """Return a client that is not open yet, and heeds the proxy variables of the environment.

    Raises:
        UsageError: the client refuses a setting.
    """
    from aiosipcdr import CdrClient

    try:
        return CdrClient(
            settings.base_url,
            settings.api_key,
            settings.api_secret,
            concurrency=pace.concurrency,
            page_size=pace.page_size,
            rate=pace.rate,
            retry=retry,
            count_delay=timedelta(seconds=pace.count_delay),
            hook=hook,
            trust_env=True,
            **plan_client(network, proof, settings),
        )
    except ValueError as error:
        raise UsageError(str(error)) from None
