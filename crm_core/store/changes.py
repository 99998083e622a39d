"""What changed between two snapshots of a table: the rows that one of them holds and the other does not.

Only the files that the two do not share are read: in a table kept by month, the months that were rewritten.
"""

from __future__ import annotations

from pathlib import Path

import ibis
import ibis.expr.types as ir

from crm_core.schema import TABLES
from crm_core.store import delta
from crm_core.store.lake import HASH, Lake
from crm_core.store.ledger import Snapshot
from crm_core.store.versions import hash_of


def changed_rows(lake: Lake, name: str, before: Snapshot, after: Snapshot, columns: list[str]) -> ir.Table | None:
    """`columns` of the rows of `name` that only one of the snapshots holds: old and new state of what was corrected.

    None when there are none. Loads that repeat what was known, joined small files and an undo followed by the same load
    change nothing. The files of `before` must be there: see `is_kept`.
    """
    old, new = _files(lake, name, before), _files(lake, name, after)
    if old == new:
        return None
    gone, come = (lake.read_files(name, sorted(paths)) for paths in (old - new, new - old))
    return ibis.union(_lacking(gone, come, name).select(*columns), _lacking(come, gone, name).select(*columns))


def _lacking(rows: ir.Table, others: ir.Table, name: str) -> ir.Table:
    """Those of `rows` that `others` do not hold: most are told by load and time, the rest by a hash of their content."""
    schema = TABLES[name.removesuffix("_versions")]
    key = list(schema.key)
    rest = rows.anti_join(others, [*key, "_effective_at", "load_id"])
    met = others.semi_join(rest, key)
    # of a current row only its content counts; of a version also when it holds, as an older one may say the same
    same = [*key, *(["_effective_at"] if name.endswith("_versions") else []), HASH]
    rest, met = (each.mutate(**{HASH: hash_of(each, schema)}) for each in (rest, met))
    return rest.anti_join(met.select(*same), same)


def is_kept(lake: Lake, names: list[str], snapshot: Snapshot) -> bool:
    """Whether every file of these tables that `snapshot` holds is still on the disk."""
    return all(Path(path).exists() for name in names for path in _files(lake, name, snapshot))


def _files(lake: Lake, name: str, snapshot: Snapshot) -> set[str]:
    version = snapshot.versions.get(name)
    return set() if version is None else set(delta.files(lake.root / name, version))
