"""Lists that were sent: reading their phones, and the receipts that a platform gives back for them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from crm_core.errors import InputError
from crm_core.simulate.arrays import NEVER, Ints
from crm_core.simulate.blocks import Sent
from crm_core.simulate.campaigns import REPLIES, Answer
from crm_core.simulate.columns import numbers, picked, times
from crm_core.simulate.files import BOM

REPLY_AFTER = 1_800


def read_phones(path: Path) -> Ints:
    """Sorted mobiles of eleven digits; InputError without a column `phone` or with a cell that is none."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if "phone" not in (rows.fieldnames or []):
                raise InputError(f"{path} has no column 'phone'; found: {', '.join(rows.fieldnames or []) or 'nothing'}")
            cells = [row["phone"] or "" for row in rows]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as a payload in UTF-8: {error}") from None
    phones = [cell.removeprefix("+").removeprefix("86") if len(cell) > 11 else cell for cell in cells]
    for place, phone in enumerate(phones, 2):
        if len(phone) != 11 or not phone.isdigit():
            raise InputError(f"{path} line {place}: the cell under 'phone' is no mainland mobile of eleven digits")
    return np.unique(np.array(phones, dtype=np.int64))


class Receipts:
    """A platform's receipts of one payload: phone, status, time, reply; replies are rows of their own."""

    def __init__(self, folder: Path, payload: Path, sent: Sent) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{payload.stem}_回执.csv"
        self._sent = sent
        self._tables: list[pa.Table] = []
        self._answered: list[Ints] = []

    def write(self, found: Answer) -> None:
        """Adds the answers of one block."""
        self._answered.append(found.phone)
        status = np.where(found.delivered, 0, 1)
        self._add(found.phone, status, self._sent.at + found.seconds, np.zeros(len(found.phone), dtype=np.int64))
        wrote = found.reply > 0
        at = self._sent.at + found.seconds[wrote] + REPLY_AFTER
        self._add(found.phone[wrote], np.full(int(wrote.sum()), 2), at, found.reply[wrote])

    def close(self) -> Path:
        """Adds numbers that nobody here has as failed, writes the file and gives its path."""
        known = np.concatenate(self._answered) if self._answered else np.zeros(0, dtype=np.int64)
        strange = np.setdiff1d(self._sent.phones, known)
        none: Ints = np.zeros(len(strange), dtype=np.int64)
        self._add(strange, none + 1, none + self._sent.at + 60, none)
        with self._path.open("wb") as file:
            file.write(BOM)
            pa_csv.write_csv(pa.concat_tables(self._tables), file)
        return self._path

    def _add(self, phone: Ints, status: Ints, at: Ints, reply: Ints) -> None:
        words = [word or None for word in REPLIES]
        self._tables.append(
            pa.table(
                {
                    "phone": numbers(phone),
                    "status": picked(("delivered", "failed", "replied"), status),
                    "time": times(at, int(NEVER)),
                    "reply": picked(pa.array(words, pa.string()), reply),
                }
            )
        )
