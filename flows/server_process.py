"""The child process of `local_server`: prepares the database, then serves Prefect's API on the socket that it
was given.

Run as a program with the socket's file number; `--prepare` only makes the prepared database. Prefect builds
an empty SQLite database by 113 migrations, seven seconds of processor time. It is done once for an
installation and Prefect version, and kept beside the installed packages; a workspace then begins with a copy.
Where that place cannot be written, a workspace migrates for itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

PREPARED = Path(sys.prefix) / "share" / "crm-core" / f"prefect-{version('prefect')}.db"


def main(listener: int) -> None:
    """Serve until told to stop (SIGTERM) or until the process that started this one is gone."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    home = Path(os.environ["PREFECT_HOME"])
    with _alone(home):
        prepare(home / "prefect.db")
    gc.disable()  # imports make no garbage, and collecting it takes a fifth of the start
    import uvicorn
    from prefect.server.api.server import create_app

    app = create_app(final=True)
    gc.freeze()
    gc.enable()
    config = uvicorn.Config(app, log_level="error", lifespan="on", timeout_graceful_shutdown=2)
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=listener)])


def prepare(database: Path) -> None:
    """Makes `database`, migrated, unless it is there: a copy of the prepared one, else migrated here and kept
    as that."""
    if database.exists():
        return
    if not os.access(PREPARED, os.F_OK):
        with contextlib.suppress(OSError):
            PREPARED.parent.mkdir(parents=True, exist_ok=True)
            PREPARED.parent.chmod(0o755)
            _publish(_migrated, PREPARED, 0o644)
    readable = os.access(PREPARED, os.R_OK)
    _publish(_copied if readable else _migrated, database, 0o600)


def _publish(make: Callable[[Path], None], final: Path, mode: int) -> None:
    with tempfile.TemporaryDirectory(dir=final.parent, prefix=".prefect-") as folder:
        made = Path(folder) / "prefect.db"
        make(made)
        made.chmod(mode)
        made.replace(final)


def _copied(database: Path) -> None:
    shutil.copyfile(PREPARED, database)


def _migrated(database: Path) -> None:
    # in a process of its own: Prefect binds its settings to the first database it meets
    environment = {**os.environ, "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{database}"}
    subprocess.run([sys.executable, "-P", __file__, "--migrate"], env=environment, stdin=subprocess.DEVNULL, check=True)
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # what is in the side file goes into the one that is copied


def migrate() -> None:
    """Brings the database that the environment names to the newest form."""
    gc.disable()
    from prefect.server.database import provide_database_interface

    asyncio.run(provide_database_interface().create_db())


@contextlib.contextmanager
def _alone(home: Path) -> Iterator[None]:
    with (home / "prepare.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _end_with_parent() -> None:
    # the other end of stdin is held by the starter alone: it closes when that process ends, even by kill -9
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment] # as in flows/__init__.py
    if sys.argv[1] == "--migrate":
        migrate()
    elif sys.argv[1] == "--prepare":
        with tempfile.TemporaryDirectory() as scratch:
            os.environ["PREFECT_HOME"] = scratch
            prepare(Path(scratch) / "prefect.db")
    else:
        main(int(sys.argv[1]))
