"""Private files that are there whole or not at all."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from crm_core.store.durable import sync


def write_once(path: Path, text: str) -> None:
    """Writes `path` whole, durably, and only if it is not there: of two processes that begin at once the first wins."""
    partial = path.with_suffix(f".{secrets.token_hex(4)}.partial")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    sync(path.parent)


def publish(partial: Path, path: Path) -> None:
    """Puts `partial` in the place of `path`, durably."""
    partial.chmod(0o600)
    sync(partial)
    partial.replace(path)
    sync(path.parent)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Only one process at a time reads a file of `folder` in order to write it anew."""
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
