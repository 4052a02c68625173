"""What is optional, and what to install where it is missing.

Must never import an optional package itself: who needs one imports it where it
is needed, and turns the failure into words here.
"""

__all__ = ["MissingExtraError"]


class MissingExtraError(ImportError):
    """A package of an extra is not installed; the text says what to install."""

    def __init__(self, need: str, extra: str, *, name: str | None = None) -> None:
        """Say that `need` (as in "Parquet needs pyarrow") is not met without `extra`; `name` is the missing module."""
        super().__init__(f'{need}: pip install "aiosipcdr[{extra}]"', name=name)
