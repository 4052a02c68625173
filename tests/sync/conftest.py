"""The PostgreSQL server of these tests ends with them."""

from collections.abc import Iterator

import pytest

from tests.sync.postgres_server import SERVER


@pytest.fixture(scope="session", autouse=True)
def _server_ends_with_the_tests() -> Iterator[None]:
    yield
    SERVER.stop()
