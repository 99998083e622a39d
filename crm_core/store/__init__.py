"""Where tables live: lake (Delta), vault (contacts), ledger (SQLAlchemy) and the engine that computes over them."""

from crm_core.store.changes import is_kept
from crm_core.store.clock import day_end, local_date, local_time, utc_time
from crm_core.store.engine import connect, count, frugal
from crm_core.store.hashing import as_float, row_hash, salted_bucket, salted_order, table_hash
from crm_core.store.lake import Lake
from crm_core.store.ledger import Ledger, now
from crm_core.store.tables import Tables
from crm_core.store.vault import Vault
from crm_core.store.versions import UndoCounts, UpsertCounts
from crm_core.store.writer import Writer

__all__ = [
    "Lake",
    "Ledger",
    "Tables",
    "UndoCounts",
    "UpsertCounts",
    "Vault",
    "Writer",
    "as_float",
    "connect",
    "count",
    "day_end",
    "frugal",
    "is_kept",
    "local_date",
    "local_time",
    "now",
    "row_hash",
    "salted_bucket",
    "salted_order",
    "table_hash",
    "utc_time",
]
