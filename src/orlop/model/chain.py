"""Chain ids: names for a stack of layers, the names of committed snapshots.

Specification: OCI image specification, config.md, "Layer ChainID".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.model.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Sequence


def chain_ids(diff_ids: Sequence[Digest]) -> tuple[Digest, ...]:
    """Return, for each layer, the name of it on top of all layers below it.

    Args:
        diff_ids: lowest layer first; the answer has the same order and length.
    """
    chain: list[Digest] = []
    for diff_id in diff_ids:
        chain.append(Digest.of(f"{chain[-1]} {diff_id}".encode()) if chain else diff_id)
    return tuple(chain)
