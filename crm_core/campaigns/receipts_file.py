"""A platform's receipts file, read as text and judged row by row in arrow: which event, when, and what is
wrong with the rest.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from crm_core.config.platforms import ReceiptSettings
from crm_core.errors import InputError

FAULT = re.compile(r"(Row #\d+: )?Expected \d+ columns, got \d+|invalid UTF-?8 data")
ROW = pa.schema([("row_number", pa.int64()), ("contact", pa.string()), ("event", pa.string()), ("occurred_at", pa.timestamp("us"))])


def read_receipts(path: Path, settings: ReceiptSettings, zone: ZoneInfo) -> tuple[pa.Table, dict[str, int]]:
    """(row_number, contact as written, event, occurred_at in naive UTC) of the rows that can be read, and
    what became of the others: reason -> rows. Raises InputError naming file and heading when the file as a
    whole cannot be read.
    """
    table = _as_text(path, settings)
    event = _events(table, settings)
    local = pc.strptime(table[settings.time], settings.time_format, "us", error_is_null=True)
    known = ZoneInfo(settings.time_zone) if settings.time_zone else zone
    utc = pc.cast(pc.assume_timezone(local, known.key, ambiguous="earliest", nonexistent="latest"), pa.timestamp("us", "UTC"))
    contact = pc.replace_substring_regex(table[settings.contact], r"[\s'()-]", "")
    rows = pa.table(
        [pa.array(range(1, table.num_rows + 1), pa.int64()), contact, event, pc.cast(utc, pa.timestamp("us"))], schema=ROW
    )
    bad_event, bad_time = pc.is_null(event), pc.is_null(local)
    bad_contact = pc.equal(pc.fill_null(contact, ""), "")
    reasons = {
        "unknown status": pc.sum(bad_event).as_py() or 0,
        "no time": pc.sum(pc.and_(bad_time, pc.invert(bad_event))).as_py() or 0,
        "no contact": pc.sum(pc.and_(bad_contact, pc.invert(pc.or_(bad_event, bad_time)))).as_py() or 0,
    }
    good = pc.invert(pc.or_(pc.or_(bad_event, bad_time), bad_contact))
    return rows.filter(good), {reason: count for reason, count in reasons.items() if count}


def file_hash(path: Path) -> str:
    """SHA-256 of the file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def is_refusal(reply: str, words: tuple[str, ...]) -> bool:
    """Whether a whole reply refuses further messages: after NFKC, trimming, trailing punctuation and case;
    'Really?' does not.
    """
    folded = pc.utf8_normalize(pa.array([reply]), "NFKC")[0].as_py().strip().rstrip("。.!！?？,，;；~ ").casefold()
    return folded in {word.casefold() for word in words}


def _as_text(path: Path, settings: ReceiptSettings) -> pa.Table:
    headings = [settings.contact, settings.status, settings.time, *([settings.reply] if settings.reply else [])]
    encoding = settings.encoding.replace("utf-8-sig", "utf-8")  # arrow skips a byte order mark by itself
    try:
        content = path.read_bytes()
        if not content.strip():
            raise InputError(f"{path} is empty; a receipts file has headings {', '.join(headings)}")
        table = pyarrow.csv.read_csv(
            pa.BufferReader(content),
            read_options=pyarrow.csv.ReadOptions(encoding=encoding, use_threads=False),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={name: pa.string() for name in headings}, strings_can_be_null=False
            ),
        )
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; check that it exists and may be read") from None
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        # arrow quotes the row that it cannot read, and so the contact in it
        fault = FAULT.search(str(error))
        raise InputError(f"{path} is not a CSV file in {encoding}" + (f": {fault[0]}" if fault else "; export it again")) from None
    needed = headings[:3]
    missing = [name for name in needed if name not in table.column_names]
    if missing:
        raise InputError(
            f"{path} has no heading '{missing[0]}'; found: {', '.join(table.column_names)}; mend the "
            "file, or the platform's "
            "'receipts' settings"
        )
    return table


def _events(table: pa.Table, settings: ReceiptSettings) -> pa.ChunkedArray:
    found = _mapped(pc.utf8_trim_whitespace(table[settings.status]), dict(settings.statuses))
    if not settings.reply or settings.reply not in table.column_names:
        return found
    # few replies differ, so each distinct one is judged once
    replies = table[settings.reply]
    refusing = {text: "unsubscribed" for text in pc.unique(replies).to_pylist() if text and is_refusal(text, settings.refusals)}
    return pc.coalesce(_mapped(replies, refusing), found)


def _mapped(values: pa.ChunkedArray, words: dict[str, str]) -> pa.ChunkedArray:
    if not words:
        return pa.chunked_array([pa.nulls(len(values), pa.string())])
    at = pc.index_in(values, pa.array(list(words), pa.string()))
    return pc.take(pa.array(list(words.values()), pa.string()), at)
