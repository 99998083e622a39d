"""Files inside a ZIP archive: their names, whatever wrote them, and their bytes, with a limit on what they unpack to."""

from __future__ import annotations

import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from crm_core.errors import InputError

MAX_RATIO, FREE = 200, 100 << 20
"""A member above `FREE` bytes may be this many times its packed size: text packs 5 to 50 times, a trap 1,000."""
MAX_MEMBERS = 10_000
_UTF8_FLAG, _ENCRYPTED_FLAG = 0x800, 0x1


def members(path: Path) -> list[str]:
    """Names of the files in the archive at `path`, in its order, without folders and the marks of macOS.

    InputError where it is damaged, has a password, or would unpack to far more than it should.
    """
    with _archive(path) as archive:
        parts = _files(archive)
    if len(parts) > MAX_MEMBERS:
        raise InputError(f"{path.name} holds {len(parts)} files, at most {MAX_MEMBERS} are opened; unpack it first")
    for name, part in parts.items():
        if part.flag_bits & _ENCRYPTED_FLAG:
            raise InputError(f"{path.name}/{name} is protected by a password; unpack the archive first")
        if part.file_size > MAX_RATIO * part.compress_size + FREE:
            raise InputError(
                f"{path.name}/{name} would unpack from {part.compress_size / 1e6:.1f} MB to "
                f"{part.file_size / 1e6:.0f} MB, which looks like a trap; unpack it yourself if it is really that large"
            )
    return list(parts)


@contextmanager
def open_member(path: Path, name: str) -> Iterator[IO[bytes]]:
    """The bytes of one file of an archive, as a stream. InputError where it is damaged or packed in an unknown way."""
    with _archive(path) as archive:
        part = _files(archive).get(name)
        if part is None:
            raise InputError(f"{path.name} changed while it was being read; load it when it is complete")
        with archive.open(part) as handle:
            yield handle


def extract(path: Path, name: str, target: Path) -> None:
    """Writes one file of an archive to `target`, in chunks."""
    with open_member(path, name) as handle, target.open("wb") as out:
        shutil.copyfileobj(handle, out, 1 << 20)


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError):
        raise InputError(f"{path.name} is a damaged or cut-off ZIP archive; export or copy it again") from None
    except NotImplementedError:
        raise InputError(f"{path.name} is packed in a way that is not known here; unpack it first") from None


def _files(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    found: dict[str, zipfile.ZipInfo] = {}
    for part in archive.infolist():
        name = _name(part)
        base = name.rsplit("/", 1)[-1]
        if not part.is_dir() and not name.startswith("__MACOSX/") and not base.startswith((".", "~$")):
            found[f"{name} ({len(found) + 1})" if name in found else name] = part
    return found


def _name(part: zipfile.ZipInfo) -> str:
    """The name as its writer meant it: without the flag for UTF-8, Windows writes it in the code page of the country."""
    if part.flag_bits & _UTF8_FLAG:
        return part.filename
    raw = part.filename.encode("cp437", "replace")
    for encoding in ("utf-8", "gb18030"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return part.filename
