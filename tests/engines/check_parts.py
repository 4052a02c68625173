"""The engines on the page of parts, executed. Run by the session `engines`."""

from collections.abc import Callable


def test_the_page_works(run_howto: Callable[[str], list[str]]) -> None:
    blocks = run_howto("parts.md")
    assert (
        sum(any(f"import {name}" in block for name in ("dask", "daft", "ray\n", "apache_beam")) for block in blocks)
        == 4
    )
