"""What every test shares: the event loop's backend and how hard hypothesis looks."""

import os

import pytest
from hypothesis import HealthCheck, settings

# The default run repeats itself: the same examples on every machine, and no
# example is failed for being slow on a busy one.  The session `many_seeds`
# looks further, with fresh randomness each time.
settings.register_profile("default", max_examples=50, derandomize=True, deadline=None)
settings.register_profile(
    "many",
    max_examples=2_000,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture
def anyio_backend() -> str:
    """Run every test on asyncio: aiohttp knows nothing else, and so do we."""
    return "asyncio"
