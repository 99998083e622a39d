"""What changed between two snapshots of a table: the rows that one of them holds and the other does not.

Only the files that the two do not share are read: in a table kept by month, the months that were rewritten; and of these
only the keys that a load brought or an undo took in between, as the files of the versions tell.
"""

from __future__ import annotations

from pathlib import Path

import ibis
import ibis.expr.types as ir

from crm_core.schema import TABLES
from crm_core.store import delta
from crm_core.store.lake import HASH, Lake, content_columns, stored_schema
from crm_core.store.ledger import Snapshot


def changed_rows(lake: Lake, name: str, before: Snapshot, after: Snapshot, columns: list[str]) -> ir.Table | None:
    """`columns` of the rows of `name` that only one of the snapshots holds: old and new state of what was corrected.

    None when there are none. Loads that repeat what was known, joined small files and an undo followed by the same load
    change nothing. The files of `before` must be there: see `is_kept`.
    """
    old, new = _files(lake, name, before), _files(lake, name, after)
    if old == new:
        return None
    sides = [lake.read_files(name, sorted(paths)) for paths in (old - new, new - old)]
    schema, versions = TABLES[name.removesuffix("_versions")], f"{name}_versions"
    # what holds of a key follows from its versions, so it changes with their files alone
    if versions in before.versions:
        said = lake.read_files(versions, sorted(_files(lake, versions, before) ^ _files(lake, versions, after)))
        sides = [rows.semi_join(said, list(schema.key)) for rows in sides]
    told = [*schema.key, HASH] if HASH in sides[0].columns else content_columns(schema)
    # of a current row only its content counts; of a version also when it holds, as an older one may say the same
    told += ["_effective_at"] if name not in TABLES else []
    types = stored_schema(name).types()  # Spark's times are of another type than those of no rows
    gone, come = (rows.select(**{each: rows[each].cast(types[each]) for each in told}) for rows in sides)
    return ibis.union(gone.difference(come), come.difference(gone)).select(*columns)


def is_kept(lake: Lake, names: list[str], snapshot: Snapshot) -> bool:
    """Whether every file of these tables that `snapshot` holds is still on the disk."""
    return all(Path(path).exists() for name in names for path in _files(lake, name, snapshot))


def _files(lake: Lake, name: str, snapshot: Snapshot) -> set[str]:
    version = snapshot.versions.get(name)
    return set() if version is None else set(delta.files(lake.root / name, version))
