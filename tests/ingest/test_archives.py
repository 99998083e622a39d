"""Files packed in ZIP and gzip, and files that change under the reader."""

from __future__ import annotations

import gzip
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from crm_core.errors import InputError
from crm_core.ingest import archive
from tests.ingest.corner_shop import HEADINGS, Shop, order, orders_file, text_of
from tests.ingest.test_bad_files import parquet, workbook


def text(*numbers: int) -> bytes:
    return text_of(order(number) for number in numbers).encode("gb18030")


def zipped(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return path


def windows_zip(path: Path, name: str, content: bytes) -> Path:
    """An archive as Chinese Windows writes it: the name in GBK, without the flag for UTF-8."""
    zipped(path, {"x" * len(name.encode("gbk")): content})
    raw = path.read_bytes().replace(b"x" * len(name.encode("gbk")), name.encode("gbk"))
    path.write_bytes(raw)
    return path


def test_the_files_of_an_archive_are_loaded_one_by_one(shop: Shop, files: Path) -> None:
    path = zipped(
        files / "十月.zip",
        {
            "2026/订单1.csv": text(1, 2),
            "订单2.csv.gz": gzip.compress(text(3)),
            "2026/订单3.xlsx": workbook(files / "book.xlsx"),
            "说明.txt": b"read me",
            "__MACOSX/2026/._订单1.csv": b"\0\0",
        },
    )
    report = shop.load(path)
    assert {file.name: (file.read, file.accepted) for file in report.files} == {
        "十月.zip/2026/订单1.csv": (2, 2),
        "十月.zip/2026/订单3.xlsx": (500, 500),
        "十月.zip/订单2.csv.gz": (1, 1),
    }
    assert report.ignored == ("十月.zip/说明.txt",)
    # unpacked it is the same file
    (files / "订单9.csv").write_bytes(text(1, 2))
    assert shop.load(files / "订单9.csv").nothing_new
    (files / "book.xlsx").unlink()
    assert shop.load(files).nothing_new


def test_names_that_windows_wrote_are_understood(shop: Shop, files: Path) -> None:
    path = windows_zip(files / "a.zip", "订单一.csv", text(1))
    assert archive.members(path) == ["订单一.csv"]
    assert [file.name for file in shop.load(files).files] == ["a.zip/订单一.csv"]


def test_rejects_of_a_packed_file_name_archive_and_file(shop: Shop, files: Path) -> None:
    path = zipped(files / "a.zip", {"订单.csv": text_of([order(1, amount="x"), order(2)]).encode()})
    shop.load(path)
    assert [(row["file"], row["row_number"]) for row in shop.rows("rejects")] == [("a.zip/订单.csv", 2)]


@pytest.mark.parametrize("kind", ["parquet", "xlsx"])
def test_parquet_and_workbooks_in_gzip_are_read(shop: Shop, files: Path, kind: str) -> None:
    content = (parquet if kind == "parquet" else workbook)(files / "plain")
    path = files / f"订单.{kind}.gz"
    path.write_bytes(gzip.compress(content))
    assert shop.load(path).accepted == 500


def protected(path: Path) -> Path:
    """An archive whose file is marked as encrypted."""
    raw = bytearray(zipped(path, {"订单.csv": text(1)}, zipfile.ZIP_STORED).read_bytes())
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        raw[raw.index(mark) + place] |= 1
    path.write_bytes(raw)
    return path


def damaged(path: Path) -> Path:
    raw = bytearray(zipped(path, {"订单.csv": text(*range(500))}, zipfile.ZIP_STORED).read_bytes())
    raw[2000] ^= 0xFF
    path.write_bytes(raw)
    return path


def cut(path: Path) -> Path:
    path.write_bytes(zipped(path, {"订单.csv": text(*range(50))}).read_bytes()[:-30])
    return path


def trap(path: Path) -> Path:
    return zipped(path, {"订单.csv": b"0" * 300_000_000})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (protected, r"a\.zip/订单\.csv is protected by a password"),
        (damaged, r"a\.zip is a damaged or cut-off ZIP"),
        (cut, r"a\.zip is a damaged or cut-off ZIP"),
        (trap, r"a\.zip/订单\.csv would unpack from 0\.3 MB to 300 MB, which looks like a trap"),
    ],
)
def test_an_archive_that_cannot_be_opened_is_named_and_nothing_is_loaded(
    shop: Shop, files: Path, make: object, message: str
) -> None:
    path = make(files / "a.zip")
    with pytest.raises(InputError, match=message):
        shop.load(path, orders_file(files, 1))
    assert shop.lake.snapshot() is None
    assert not list((shop.root / "spill").glob("ingest_*"))


WRITERS = {
    "grows": "with open(path, 'ab') as out: out.write(b'x' * 100)",
    "shrinks": "os.truncate(path, os.path.getsize(path) - 100)",
    "is replaced": "shutil.copyfile(path, path + '_'); os.replace(path + '_', path)",
    "is written over": "out = os.open(path, os.O_WRONLY); os.pwrite(out, b'9', 500_000); os.close(out); "
    "os.utime(path, ns=(stamp, stamp))",
}


@pytest.mark.parametrize("what", WRITERS)
@pytest.mark.parametrize("name", ["订单.csv", "订单.csv.gz", "订单.zip"])
def test_a_file_that_another_process_changes_meanwhile_is_refused_whole(shop: Shop, files: Path, what: str, name: str) -> None:
    content = text_of((order(number) for number in range(60_000)), HEADINGS).encode()
    path = files / name
    if name.endswith(".zip"):
        zipped(path, {"订单.csv": content}, zipfile.ZIP_STORED)
    else:
        path.write_bytes(gzip.compress(content, 1) if name.endswith(".gz") else content)
    script = (
        "import os, shutil, sys, time\npath = sys.argv[1]\nstamp = os.stat(path).st_mtime_ns\nprint(flush=True)\n"
        f"for _ in range(20_000):\n    {WRITERS[what]}\n    time.sleep(0.002)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        try:
            with pytest.raises(InputError, match=r"changed while it was being read|damaged or cut-off ZIP"):
                shop.load(path)
        finally:
            writer.kill()
    assert shop.lake.snapshot() is None
