"""Bytes to clean text: encodings, compression, headings, blank lines, and files that are none."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_core.config.sources import ReaderSettings
from crm_core.errors import InputError
from crm_core.ingest import spool, transcode
from crm_core.ingest.detect import detect

TEXT = "姓名,城市\r\n张三,北京\r\n李四,𠮷野家\r\n"
ROWS = "张三,北京\n李四,𠮷野家\n"


def decode(path: Path, **options: object) -> tuple[spool.Text, str]:
    found = spool.decode(path, path.with_name("copy"), ReaderSettings(**options), compressed=path.suffix == ".gz")
    return found, found.path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("encoding", "named"), [("utf-8", "utf-8"), ("utf-8-sig", "utf-8-sig"), ("gb18030", "gb18030"), ("utf-16", "utf-16")]
)
def test_the_encoding_is_found(tmp_path: Path, encoding: str, named: str) -> None:
    (tmp_path / "a.csv").write_bytes(TEXT.encode(encoding))
    text, rows = decode(tmp_path / "a.csv")
    assert (text.encoding, text.heading_record, rows) == (named, "姓名,城市", ROWS)


def test_gb18030_is_found_where_only_the_last_line_is_not_english(tmp_path: Path) -> None:
    lines = "a,b\n" + "1,2\n" * 700_000 + "3,北京\n"
    (tmp_path / "a.csv").write_bytes(lines.encode("gb18030"))
    text, rows = decode(tmp_path / "a.csv")
    assert text.encoding == "gb18030"
    assert rows.endswith("3,北京\n")


def test_a_gzip_file_is_read_like_its_content(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(TEXT.encode("gb18030")))
    assert decode(tmp_path / "a.csv.gz")[1] == ROWS


def test_lines_above_the_headings_are_skipped_and_counted(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("\n# account of October\n\nname,city\nx,y\n")
    text, rows = decode(tmp_path / "a.csv", skip_lines=3)
    assert (text.rows_above, text.heading_record, rows) == (3, "name,city", "x,y\n")


def test_a_heading_may_hold_a_line_end_in_quotes(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('"na\nme",city\nx,y\n')
    text, rows = decode(tmp_path / "a.csv")
    assert (spool.split_headings(text, ",", "a"), rows) == (["na\nme", "city"], "x,y\n")


@given(st.lists(st.sampled_from(["1,2", "", '"a\n\nb",3', 'x,"y\n"', ",,"]), min_size=1, max_size=40), st.integers(1, 7))
@settings(max_examples=100, deadline=None)
def test_blank_lines_go_and_those_in_quotes_stay_wherever_chunks_end(lines: list[str], size: int) -> None:
    text = "".join(line + "\n" for line in lines).encode()
    dropper = transcode.BlankLines()
    found = b"".join(dropper.drop(text[start : start + size]) for start in range(0, len(text), size))
    assert found.decode() == "".join(line + "\n" for line in lines if line)
    kept = [sum(map(bool, lines[:place])) for place, line in enumerate(lines) if not line]
    assert list(dropper.before) == kept


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n\n  \n", "holds no headings"),
        (b"a,b\n1,\x00\n", "holds NUL bytes"),
        ("a,b\n1,2\n".encode("utf-16-le"), "holds NUL bytes"),
        (b"a,b\n\xff\xfe\x81\xff\xff", "cannot be decoded as utf-8 or gb18030"),
        (gzip.compress(b"a,b\n1,2\n" * 1000, mtime=0)[:-9], "damaged or cut-off gzip"),
        (
            "姓名,城市\n".encode() + "张三,北京\n".encode() * 20 + b"\xb0\xa1,1\n",
            "UTF-8 with 2 broken characters, the first in line 22",
        ),
        ("name\nMüller\nFrançois\n".encode("cp1252"), "look like Windows-1252"),
        (b"\x1f\x8b\x08garbage", "damaged or cut-off gzip"),
        (b"x" * 3_000_000, "no line end in its first megabyte"),
    ],
)
def test_what_is_no_table_of_text_gets_one_clear_error(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / ("a.csv.gz" if content.startswith(b"\x1f") else "a.csv")
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        detect(path)
        decode(path)
    assert path.name in str(error.value)


def test_headings_that_cannot_be_told_apart_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b'a,b"c\rd",e\n1,2,3\n')
    text, _ = decode(tmp_path / "a.csv")
    with pytest.raises(InputError, match="its headings cannot be told apart"):
        spool.split_headings(text, ",", "a.csv")


def test_a_workbook_of_an_unknown_zip_version_is_damaged(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.xlsx", "w") as archive:
        archive.writestr("xl/workbook.xml", "")
    content = bytearray((tmp_path / "a.xlsx").read_bytes())
    content[content.index(b"PK\x01\x02") + 6] = 249  # the version needed to extract
    (tmp_path / "a.xlsx").write_bytes(content)
    with pytest.raises(InputError, match="damaged or cut-off XLSX"):
        detect(tmp_path / "a.xlsx")


def test_an_encoding_that_was_set_is_the_only_one_tried(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(TEXT.encode("gb18030"))
    with pytest.raises(InputError, match="cannot be decoded as utf-8-sig"):
        decode(tmp_path / "a.csv", encoding="utf-8")


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a.xls", "an old Excel workbook"),
        (b"%PDF-1.4", "a.csv", "a PDF"),
        (b"PK\x03\x04cut", "a.xlsx", "damaged or cut-off XLSX"),
        (b"name,city\n", "a.parquet", "should be parquet but does not begin like one"),
        (b"name,city\n", "a.xlsx", "should be xlsx but does not begin like one"),
    ],
)
def test_foreign_files_are_named_for_what_they_are(tmp_path: Path, content: bytes, name: str, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        detect(tmp_path / name)
