"""Exported files that may hold the same calls, by the queries of their manifests."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from aiosipcdr.export.manifest import Manifest

__all__ = ["Overlap", "end_of", "find_overlaps"]


class Overlap(NamedTuple):
    """Two files whose queries select some of the same calls.

    Attributes:
        one: The manifest of the file that begins earlier.
        other: The other one.
        is_same_account: Whether both are of one account; `None` if that is not known, because the fingerprints of files
            in different folders cannot be compared.
    """

    one: Manifest
    other: Manifest
    is_same_account: bool | None


def end_of(manifest: Manifest) -> datetime:
    """Return the end of the range that was read: the vendor's now, if the query ends later."""
    return manifest.report.clipped_to or manifest.query.end


def find_overlaps(manifests: Sequence[Manifest]) -> list[Overlap]:
    """Return the pairs of files that may hold the same calls, in the order of their begin.

    Files of two accounts share none, nor do those of different groups or of different phones.
    """
    found = []
    open_ended: list[Manifest] = []
    for manifest in sorted(manifests, key=lambda one: (one.query.start, end_of(one))):
        open_ended = [one for one in open_ended if end_of(one) > manifest.query.start]
        for one in open_ended:
            is_same_account = one.account == manifest.account if one.key == manifest.key else None
            if is_same_account is not False and not _are_apart(one, manifest):
                found.append(Overlap(one, manifest, is_same_account))
        open_ended.append(manifest)
    return found


def _are_apart(one: Manifest, other: Manifest) -> bool:
    # Fingerprints tell phones of one folder apart, masked names some of those of two folders.
    phones = (one.phone, other.phone) if one.key == other.key else (one.query.phone_name, other.query.phone_name)
    groups = one.query.sip_group_name, other.query.sip_group_name
    return any(None not in pair and pair[0] != pair[1] for pair in (phones, groups))
