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

MARKS = "。.!！?？,，;；~、'\"‘’“”「」()（）【】\\[\\]"
FAULT = re.compile(r"(Row #\d+: )?Expected \d+ columns, got \d+|invalid UTF-?8 data")
ROW = pa.schema([("row_number", pa.int64()), ("contact", pa.string()), ("event", pa.string()), ("occurred_at", pa.timestamp("us"))])
REFUSED = ROW.append(pa.field("reason", pa.string()))


def read_receipts(path: Path, settings: ReceiptSettings, zone: ZoneInfo) -> tuple[pa.Table, pa.Table]:
    """(row_number as a spreadsheet shows it, contact as written, event, occurred_at in naive UTC) of the rows that can be read;
    and the others with what is known of them and the reason. Raises InputError naming file and heading when the file as a
    whole cannot be read.
    """
    table = _as_text(path, settings)
    event = _events(table, settings)
    local = pc.strptime(table[settings.time], settings.time_format, "us", error_is_null=True)
    known = ZoneInfo(settings.time_zone) if settings.time_zone else zone
    utc = pc.cast(pc.assume_timezone(local, known.key, ambiguous="earliest", nonexistent="latest"), pa.timestamp("us", "UTC"))
    contact = pc.fill_null(pc.replace_substring_regex(table[settings.contact], r"[\s'()-]", ""), "")
    reason = pc.case_when(
        pc.make_struct(pc.is_null(event), pc.is_null(local), pc.equal(contact, "")), "unknown status", "no time", "no contact"
    )
    numbers = pa.array(range(2, table.num_rows + 2), pa.int64())
    rows = pa.table([numbers, contact, event, pc.cast(utc, pa.timestamp("us")), reason], schema=REFUSED)
    good = pc.is_null(reason)
    return rows.filter(good).drop_columns("reason"), rows.filter(pc.invert(good))


def file_hash(path: Path) -> str:
    """SHA-256 of the file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def is_refusal(reply: str, words: tuple[str, ...]) -> bool:
    """Whether a whole reply refuses further messages, after NFKC, quotation marks, punctuation and case: one of the words, or of
    those in Latin letters one together with one of the others, as in 'T退订', or '回复T'. 'Really?' and 'trend' do not.
    """
    folded = pc.utf8_normalize(pa.array([reply]), "NFKC")[0].as_py().casefold()
    latin, other = (
        "|".join(re.escape(word.casefold()) for word in words if word.isascii() is ascii) or r"\b\B" for ascii in (True, False)
    )
    text = re.sub(rf"[{MARKS}\s]+", "", folded)
    return bool(re.fullmatch(rf"(?:请?(?:回复?|发送?))?(?:(?:{latin})|(?:{latin})?(?:{other})|(?:{other})(?:{latin}))", text))


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
