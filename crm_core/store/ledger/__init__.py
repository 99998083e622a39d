"""The ledger: small rows that say who did what, when, from which versions and with which hashes."""

from crm_core.store.ledger.ledger import Ledger, now
from crm_core.store.ledger.models import Audience, AuditEntry, ConfigText, Export, Lease, Load, LoadFile, Report, Run, Snapshot
from crm_core.store.ledger.records import MoneyRecord, TableRecord, money_in, tables_in

__all__ = [
    "Audience", "AuditEntry", "ConfigText", "Export", "Lease", "Ledger", "Load", "LoadFile", "MoneyRecord", "Report", "Run",
    "Snapshot", "TableRecord", "money_in", "now", "tables_in",
]  # fmt: skip
