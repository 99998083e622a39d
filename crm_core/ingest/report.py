"""What a load says about itself: every row accounted for by file, every table's changes, every sum that
had to agree.
"""

from __future__ import annotations

from dataclasses import dataclass

from crm_core.ingest.watermark import Mark
from crm_core.store.ledger import MoneyRecord, TableRecord


@dataclass(frozen=True)
class FileReport:
    """One file. `read` = accepted + duplicate + rejected; of the rejected, `erased` are rows of erased people. `known_load`
    names the load that already holds these bytes. `unknown_headings` are those that no field reads; `new_headings` and
    `gone_headings` say how the file differs from the one of its feed that was loaded before. `other_sheets` of a workbook
    say something and were not read.
    """

    name: str
    feed: str
    sha256: str
    bytes: int
    format: str = ""
    encoding: str = ""
    read: int = 0
    accepted: int = 0
    duplicate: int = 0
    rejected: int = 0
    erased: int = 0
    headings: tuple[str, ...] = ()
    unknown_headings: tuple[str, ...] = ()
    missing_headings: tuple[str, ...] = ()
    new_headings: tuple[str, ...] = ()
    gone_headings: tuple[str, ...] = ()
    other_sheets: tuple[str, ...] = ()
    known_load: str = ""

    @property
    def adds_up(self) -> bool:
        """Whether each row read is accepted, a known duplicate or rejected."""
        return self.read == self.accepted + self.duplicate + self.rejected


@dataclass(frozen=True)
class RejectReport:
    """How many rows of a file were refused for a kind of reason, with the first three row numbers."""

    file: str
    field: str
    reason: str
    rows: int
    row_numbers: tuple[int, ...]


@dataclass(frozen=True)
class ContactReport:
    """Contact values that went to the vault, and how many of them cannot be used."""

    kind: str
    values: int
    invalid: int


@dataclass(frozen=True)
class LoadReport:
    """One `crm ingest`: one load, many files, one published snapshot. `load_id` is empty where nothing was
    written.
    """

    source: str
    load_id: str
    snapshot: int | None
    dry_run: bool
    files: tuple[FileReport, ...]
    ignored: tuple[str, ...] = ()
    tables: tuple[TableRecord, ...] = ()
    balances: tuple[MoneyRecord, ...] = ()
    rejects: tuple[RejectReport, ...] = ()
    contacts: tuple[ContactReport, ...] = ()
    marks: tuple[Mark, ...] = ()
    seconds: float = 0.0

    @property
    def read(self) -> int:
        """Rows read in all files that were not loaded before."""
        return sum(file.read for file in self.files)

    @property
    def accepted(self) -> int:
        """Rows that became something in the lake."""
        return sum(file.accepted for file in self.files)

    @property
    def duplicate(self) -> int:
        """Rows that repeat another row of their file."""
        return sum(file.duplicate for file in self.files)

    @property
    def rejected(self) -> int:
        """Rows refused; each is in the rejects table with its file, row number and reason."""
        return sum(file.rejected for file in self.files)

    @property
    def erased(self) -> int:
        """Rows refused because the person they are of was erased; they are among the rejected."""
        return sum(file.erased for file in self.files)

    @property
    def adds_up(self) -> bool:
        """Whether read = accepted + duplicate + rejected in every file."""
        return all(file.adds_up for file in self.files)

    @property
    def nothing_new(self) -> bool:
        """Whether all files were loaded before, byte for byte."""
        return bool(self.files) and all(file.known_load for file in self.files)
