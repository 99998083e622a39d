"""A source's files → canonical tables: read, map, clean, recognise repetitions, reconcile, take back."""

from crm_core.ingest.drift import heading_notes
from crm_core.ingest.expressions import account_spelling
from crm_core.ingest.history import UndoReport, loads, rejects, undo
from crm_core.ingest.inbox import InboxReport, take_in
from crm_core.ingest.load import ingest
from crm_core.ingest.mending import Mended, export_refused
from crm_core.ingest.report import FileReport, LoadReport
from crm_core.ingest.suggest import Draft, suggest

__all__ = [
    "Draft", "FileReport", "InboxReport", "LoadReport", "Mended", "UndoReport", "account_spelling", "export_refused",
    "heading_notes", "ingest", "loads", "rejects", "suggest", "take_in", "undo",
]  # fmt: skip
