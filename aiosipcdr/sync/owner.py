"""Owner of a synced table: fingerprints of the account and the filters, and their comparison."""

import msgspec

from aiosipcdr.export.keys import ACCOUNT, KeyDerivation, derive_key
from aiosipcdr.model.errors import ExportConflictError
from aiosipcdr.model.query import Filters
from aiosipcdr.sync.checkpoints import Owner
from aiosipcdr.wire.signing import Credentials

__all__ = ["check_owner"]

_FILTERS = "#filters"


def check_owner(credentials: Credentials, filters: Filters, stored: Owner | None, *, table: str, forget: str) -> Owner:
    """Return the owner to store for an account and its filters; takes about a tenth of a second.

    Args:
        credentials: The account.
        filters: The filters.
        stored: The owner of the table; `None` if it has none.
        table: The table, for the message.
        forget: The command that removes the stored owner, for the message.

    Raises:
        ExportConflictError: The table holds the calls of another account, or of other filters.
    """
    derivation = KeyDerivation.new() if stored is None else stored.key
    key = derive_key(credentials, derivation)
    asked = msgspec.json.encode([filters.sip_group_name, filters.phone_name]).decode()
    owner = Owner(key=derivation, account=key.fingerprint(ACCOUNT), filters=key.fingerprint(_FILTERS, asked))
    if stored is None:
        return owner
    if stored.account != owner.account:
        raise ExportConflictError(
            f"{table} holds the calls of another account: choose another table. If only its key or secret was replaced,"
            f" run this and sync again: {forget}"
        )
    if stored.filters != owner.filters:
        raise ExportConflictError(
            f"{table} holds the calls of other filters: sync with the same group and phone, or choose another table"
        )
    return owner
