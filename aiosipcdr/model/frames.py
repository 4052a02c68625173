"""Records as data frames of pandas and polars, for analysis and plots.

Both are imported only here and only when called; no extra installs them.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from aiosipcdr.model.arrow import ArrowRecords, load_pyarrow
from aiosipcdr.model.records import MONEY_FIELDS, CallDetailRecord

__all__ = ["to_pandas", "to_polars"]


def to_pandas(records: Sequence[CallDetailRecord], *, float_money: bool) -> Any:  # noqa: ANN401 - pandas is optional
    """Return a `pandas.DataFrame`: see `CallDetailRecords.to_pandas`."""
    table = _table(records, float_money=float_money)
    _require("pandas")
    return table.to_pandas()


def to_polars(records: Sequence[CallDetailRecord], *, float_money: bool) -> Any:  # noqa: ANN401 - polars is optional
    """Return a `polars.DataFrame`: see `CallDetailRecords.to_polars`."""
    table = _table(records, float_money=float_money)
    return _require("polars").from_arrow(table)


def _table(records: Sequence[CallDetailRecord], *, float_money: bool) -> Any:  # noqa: ANN401 - pyarrow has no types
    pyarrow = load_pyarrow()
    table = pyarrow.table(ArrowRecords(records))
    if float_money:
        kinds = [
            pyarrow.field(one.name, pyarrow.float64()) if one.name in MONEY_FIELDS else one for one in table.schema
        ]
        table = table.cast(pyarrow.schema(kinds))
    return table


def _require(name: str) -> Any:  # noqa: ANN401 - a module
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(f"this needs {name}: pip install {name}", name=error.name) from None
