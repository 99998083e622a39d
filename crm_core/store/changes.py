"""What changed between two snapshots of a table: the rows that one of them holds and the other does not.

Only the files that the two do not share are read: in a table kept by month, the months that were rewritten.
"""

from __future__ import annotations

from pathlib import Path

import ibis
import ibis.expr.types as ir

from crm_core.schema import TABLES
from crm_core.store import delta
from crm_core.store.lake import Lake
from crm_core.store.ledger import Snapshot


def changed_rows(lake: Lake, name: str, before: Snapshot, after: Snapshot, columns: list[str]) -> ir.Table | None:
    """`columns` of the rows of `name` that only one of the snapshots holds: old and new state of what was corrected.

    None when there are none. Loads that repeat what was known, joined small files and an undo followed by the same load
    change nothing. The files of `before` must be there: see `is_kept`.
    """
    old, new = _files(lake, name, before), _files(lake, name, after)
    if old == new:
        return None
    # of a current row only its content counts; of a version also when it holds, as an older one may say the same
    time = ["_effective_at"] if name.endswith("_versions") else []
    same = [*TABLES[name.removesuffix("_versions")].key, *time, "_row_hash"]
    wanted = list(dict.fromkeys([*columns, *same]))
    gone = lake.read_files(name, sorted(old - new)).select(*wanted)
    come = lake.read_files(name, sorted(new - old)).select(*wanted)
    return ibis.union(gone.anti_join(come, same), come.anti_join(gone, same)).select(*columns)


def is_kept(lake: Lake, names: list[str], snapshot: Snapshot) -> bool:
    """Whether every file of these tables that `snapshot` holds is still on the disk."""
    return all(Path(path).exists() for name in names for path in _files(lake, name, snapshot))


def _files(lake: Lake, name: str, snapshot: Snapshot) -> set[str]:
    version = snapshot.versions.get(name)
    return set() if version is None else set(delta.files(lake.root / name, version))
