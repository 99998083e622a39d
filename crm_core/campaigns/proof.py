"""`rebuild`: makes a frozen list again from what was pinned and compares hashes – the proof that no list is a
matter of trust.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from crm_core.campaigns.audience import computed, stored_rows
from crm_core.campaigns.pinned import pinned
from crm_core.errors import RunFailed
from crm_core.store import table_hash

if TYPE_CHECKING:
    from crm_core.store import Lake, Ledger, Vault


@dataclass(frozen=True)
class Rebuilt:
    """A list that came out the same: its hash, its size, and whether stored rows were compared too."""

    audience_id: str
    rows_hash: str
    rows: int
    stored: bool


def rebuild(audience_id: str, lake: Lake, ledger: Ledger, vault: Vault) -> Rebuilt:
    """Computes the list anew from its pinned snapshot, settings and date, and compares stored rows.

    Raises UnknownName for a list that was never frozen, RunFailed when the new rows or the stored ones have
    another hash than the ledger, or when something pinned is missing.
    """
    made_from = pinned(audience_id, lake, ledger)
    known = made_from.audience
    with computed(made_from.tables, made_from.config, lake, vault, known.campaign, known.wave, made_from.until) as found:
        again = table_hash(found.rows)
    if again != known.rows_hash:
        raise RunFailed(
            f"{audience_id} comes out differently: {again[:12]} instead of {known.rows_hash[:12]}; "
            "the data or settings that it was made from were changed"
        )
    stored = stored_rows(audience_id, lake)
    size = int(stored.count().to_pyarrow().as_py())
    if size and table_hash(stored) != known.rows_hash:
        raise RunFailed(f"the stored rows of {audience_id} were altered: their hash is not the one in the ledger")
    return Rebuilt(audience_id, again, known.counts["selected"], stored=size > 0)
