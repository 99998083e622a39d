"""Real PostgreSQL and MariaDB servers of the tests' own: in temporary folders, on sockets, as an unprivileged user."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import OperationalError

from tests.require import mariadb_bin, need, postgres_bin

PASSWORD = "never-shown-7Qx"


@dataclass
class Server:
    """One server. `url` goes to an empty database, with a user that may do everything and has PASSWORD."""

    url: str
    pid_file: Path
    start: Callable[[], object]

    def kill(self) -> None:
        """Ends the server and its children at once, as a power cut would; `start` starts it again."""
        server = psutil.Process(int(self.pid_file.read_text().split()[0]))
        family = [server, *server.children(recursive=True)]
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(family, timeout=10)

    def database(self, name: str) -> str:
        """The URL of a new, empty database."""
        server = create_engine(self.url, isolation_level="AUTOCOMMIT")
        with server.connect() as connection:
            connection.execute(text(f"create database {name}"))
        server.dispose()
        return self.url.replace("/crm?", f"/{name}?")


@contextmanager
def _home(user: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A folder of the user that the server runs as, and how to run a program as that user."""
    home = Path(tempfile.mkdtemp(prefix=user[:2]))
    who: dict[str, Any] = {"cwd": "/", "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    if os.geteuid() == 0:  # neither server wants to be root
        shutil.chown(home, user)
        who["user"] = user
    try:
        yield home, who
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def postgres_server() -> Iterator[Server]:
    """A PostgreSQL server; skips the test where there is none."""
    programs = postgres_bin()
    need(programs, "PostgreSQL server")
    assert programs is not None
    with _home("postgres") as (home, who):
        data = home / "data"
        options = f"-c listen_addresses='' -c unix_socket_directories={home} -c fsync=off -c max_connections=60"
        made = [programs / "initdb", "-D", data, "-A", "trust", "-U", "crm", "-E", "UTF8", "--no-sync"]
        subprocess.run(made, check=True, **who)
        start = [programs / "pg_ctl", "-D", data, "-l", home / "log", "-w", "-o", options, "start"]

        def up() -> None:
            subprocess.run(start, check=True, **who)

        up()
        try:
            subprocess.run([programs / "createdb", "-h", home, "-U", "crm", "crm"], check=True, **who)
            yield Server(f"postgresql+psycopg://crm:{PASSWORD}@/crm?host={home}", data / "postmaster.pid", up)
        finally:
            subprocess.run([programs / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop"], check=False, **who)


@contextmanager
def mariadb_server() -> Iterator[Server]:
    """A MariaDB server; skips the test where there is none."""
    programs = mariadb_bin()
    need(programs, "MariaDB server")
    assert programs is not None
    with _home("mysql") as (home, who):
        socket, pid = home / "s", home / "pid"
        install, serve = programs
        made = [install, "--no-defaults", f"--datadir={home / 'data'}", "--auth-root-authentication-method=normal",
                "--skip-test-db"]  # fmt: skip
        subprocess.run(made, check=True, **who)
        start = [serve, "--no-defaults", f"--datadir={home / 'data'}", f"--socket={socket}", f"--pid-file={pid}",
                 "--skip-networking", "--innodb-flush-log-at-trx-commit=2"]  # fmt: skip
        root = create_engine(f"mariadb+pymysql://root@localhost/?unix_socket={socket}", poolclass=NullPool)
        running: list[subprocess.Popen[bytes]] = []

        def up() -> None:
            running.append(subprocess.Popen(start, **who))
            _wait(root)

        try:
            up()
            with root.begin() as connection:
                connection.execute(text("create database crm character set utf8mb4"))
                connection.execute(text(f"create user crm@localhost identified by '{PASSWORD}'"))
                connection.execute(text("grant all on *.* to crm@localhost"))
            yield Server(f"mariadb+pymysql://crm:{PASSWORD}@localhost/crm?unix_socket={socket}", pid, up)
        finally:
            for process in running:
                process.kill()
                process.wait()


def _wait(engine: Any) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            engine.connect().close()
        except OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return
