"""What is optional, and what to install where it is missing.

Must never import an optional package itself: who needs one imports it where it
is needed, and turns the failure into words here.
"""

from functools import partial

__all__ = ["MissingExtraError"]


class MissingExtraError(ImportError):
    """A package of an extra is not installed; the text says what to install."""

    def __init__(self, need: str, extra: str, *, name: str | None = None) -> None:
        """Say that `need` (as in "Parquet needs pyarrow") is not met without `extra`; `name` is the missing module."""
        super().__init__(f'{need}: pip install "aiosipcdr[{extra}]"', name=name)
        self._facts = (need, extra, name)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by what it was made of."""
        need, extra, name = self._facts
        return partial(type(self), name=name), (need, extra)
