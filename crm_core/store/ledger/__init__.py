"""The ledger: small rows that say who did what, when, from which versions and with which hashes."""

from crm_core.store.ledger.ledger import Ledger, now
from crm_core.store.ledger.models import (
    Audience,
    AuditEntry,
    ConfigText,
    Export,
    Lease,
    Load,
    LoadFile,
    Report,
    Run,
    Snapshot,
)

__all__ = [
    "Audience",
    "AuditEntry",
    "ConfigText",
    "Export",
    "Lease",
    "Ledger",
    "Load",
    "LoadFile",
    "Report",
    "Run",
    "Snapshot",
    "now",
]
