"""The client of a command, built from its arguments.

Imports the client, and with it aiohttp, only when called.
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
    """Concurrency, page size and pace of requests.

    Attributes:
        concurrency: Maximum number of concurrent requests.
        page_size: Calls per page, at most 100.
        rate: Maximum number of requests per second; unlimited by default.
        count_delay: Seconds to wait before the control count of a young window, for vendors whose counts lag behind.
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
    """Return a client that is not open yet and uses the proxy variables of the environment.

    Raises:
        UsageError: The client refuses a setting.
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
