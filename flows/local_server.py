"""A Prefect server of our own on loopback: started in the background, ended with the process that started it.

Prefect's own temporary server takes 13 seconds and more, a third of which are avoidable imports and half of
which are 113 migrations of an empty SQLite file; this one is asked to come up early, while other work is
going on, from a database that was migrated once (see `server_process`). The listening socket is bound here
and handed over, so no port is ever raced for. A password that is made anew for each start keeps other users
of the machine out.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import socket
import subprocess
import sys
import time
import tomllib
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import psutil

from crm_core.errors import InputError, RunFailed

STARTUP_SECONDS = 120.0
STOP_SECONDS = 10.0
LOOPBACK = "127.0.0.1"
NOTE, LOG, LOG_BYTES = "server.json", "server.log", 1_000_000


@dataclass
class Server:
    """A Prefect server to run flows on. `process` is set when it is a child of this one, `password` when it
    wants one."""

    url: str
    home: Path
    password: str = field(default="", repr=False)
    process: subprocess.Popen[bytes] | None = None
    note: Path | None = field(default=None, repr=False)

    def wait(self, seconds: float = STARTUP_SECONDS) -> None:
        """Returns when the server answers. Raises RunFailed when it ends, or does not answer in time."""
        if self.process is None:
            return
        deadline = time.monotonic() + seconds
        while not _answers(self.url, self.password, min(5.0, seconds)):
            if self.process.poll() is not None:
                code, log = self.process.returncode, self.home / LOG
                raise RunFailed(f"the Prefect server ended with code {code}; see {log}")
            if time.monotonic() > deadline:
                self.stop()
                log = self.home / LOG
                raise RunFailed(f"the Prefect server did not start in {seconds:.0f} seconds; see {log}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Ends the server if it is ours; safe to call twice."""
        if self.note is not None:
            self.note.unlink(missing_ok=True)
        if self.process is None:
            return
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def restart(self) -> None:
        """Starts a server of ours that has died anew, at the same address, and waits for it."""
        port = int(self.url.split(":")[2].split("/")[0])
        fresh = start(self.home, port=port, scheduling=self.note is not None, password=self.password)
        self.process, self.note = fresh.process, fresh.note
        self.wait()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


def home_of(root: str | Path) -> Path:
    """The PREFECT_HOME of a workspace; only its owner may read it."""
    home = Path(root).expanduser().resolve() / "data" / "prefect"
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise RunFailed(f"{home} cannot be made: {error.strerror}; check permissions and space") from None
    return home


def obtain(root: str | Path) -> Server:
    """The server for the workspace `root`: a configured one (PREFECT_API_URL, or the active Prefect profile),
    else one that `crm serve` keeps for this workspace, else a temporary one that comes up in the background
    (`wait` for it, `stop` it)."""
    home = home_of(root)
    if url := configured():
        return Server(url, home)
    return find(home) or start(home)


def configured() -> str:
    """The address of the Prefect server that this user has configured; '' without one. Found without
    importing Prefect."""
    if url := os.environ.get("PREFECT_API_URL"):
        return url
    folder = Path(os.environ.get("PREFECT_HOME") or "~/.prefect").expanduser()
    path = Path(os.environ.get("PREFECT_PROFILES_PATH") or folder / "profiles.toml")
    try:
        profiles = tomllib.loads(path.read_text(encoding="utf-8"))
        active = os.environ.get("PREFECT_PROFILE") or profiles.get("active", "")
        return str(profiles["profiles"][active].get("PREFECT_API_URL", ""))
    except (OSError, ValueError, KeyError, AttributeError):
        return ""


def find(home: Path) -> Server | None:
    """The server that `crm serve` keeps for the workspace whose PREFECT_HOME is `home`; None when there is
    none alive."""
    try:
        note = json.loads((home / NOTE).read_text(encoding="utf-8"))
        alive = process_name(psutil.Process(int(note["process"].split(":")[0]))) == note["process"]
        server = Server(note["url"], home, note["password"])
    except (OSError, ValueError, KeyError, TypeError, psutil.NoSuchProcess):
        return None
    return server if alive and _answers(server.url, server.password, 5.0) else None


def start(home: Path, *, port: int = 0, scheduling: bool = False, password: str = "") -> Server:
    """Starts a server on loopback and returns at once; `wait` until it answers.

    `port` 0: a free one. `scheduling`: with the services that make scheduled runs, and known to `find`. It
    ends when this process does, however that ends. Raises InputError when the port is taken.
    """
    password = password or f"crm:{secrets.token_urlsafe(24)}"
    listener = _listen(port)
    with listener, _log(home) as log:
        process = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).with_name("server_process.py")), str(listener.fileno())],
            env=_environment(home, password, scheduling),
            pass_fds=[listener.fileno()],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            umask=0o077,
            start_new_session=True,  # Ctrl-C is ours to handle: runs are ended first, the server last
        )
        server = Server(f"http://{LOOPBACK}:{listener.getsockname()[1]}/api", home, password, process)
    if scheduling:
        server.note = _write_note(server, process)
    return server


@contextlib.contextmanager
def connected(server: Server) -> Iterator[None]:
    """Inside, Prefect's client in this process speaks with `server`; on leaving, what it still wants to say
    is sent."""
    from prefect.settings import temporary_settings

    with temporary_settings(client_settings(server)):
        try:
            yield
        finally:
            _say_everything()


def client_settings(server: Server) -> dict[Any, Any]:
    """Prefect settings for the client side: a configured server keeps the user's own."""
    from prefect import settings

    ours: dict[Any, Any] = {
        settings.PREFECT_API_URL: server.url,
        settings.PREFECT_SERVER_ALLOW_EPHEMERAL_MODE: False,
        settings.PREFECT_RESULTS_DEFAULT_SERIALIZER: "json",
        settings.PREFECT_LOCAL_STORAGE_PATH: str(server.home / "storage"),
    }
    if server.password:
        ours[settings.PREFECT_HOME] = server.home
        ours[settings.PREFECT_API_AUTH_STRING] = server.password
        _bypass_proxy()
    return ours


def process_name(process: psutil.Process) -> str:
    """A process as 'pid:start', which no later process shares."""
    return f"{process.pid}:{process.create_time():.2f}"


def _log(home: Path) -> IO[bytes]:
    path = home / LOG
    if path.exists() and path.stat().st_size > LOG_BYTES:
        path.unlink()
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise InputError(f"port {port} of {LOOPBACK} cannot be used: {error.strerror}; name another, or 0 for a free one") from None
    return listener


def _environment(home: Path, password: str, scheduling: bool) -> dict[str, str]:
    # a user's own settings of a server (its database above all) must not reach this one
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    ours = {
        "DO_NOT_TRACK": "1",
        "PREFECT_HOME": str(home),
        "PREFECT_PROFILES_PATH": str(home / "profiles.toml"),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{home / 'prefect.db'}",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_API_AUTH_STRING": password,
        "PREFECT_SERVER_UI_ENABLED": "false",
        "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",
        "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    }
    if not scheduling:
        ours["PREFECT__SERVER_EPHEMERAL"] = "1"
    return {**inherited, **ours}


def _write_note(server: Server, process: subprocess.Popen[bytes]) -> Path:
    path = server.home / NOTE
    note = {"url": server.url, "process": process_name(psutil.Process(process.pid)), "password": server.password}
    temporary = path.with_suffix(".new")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(note, file)
    temporary.replace(path)
    return path


def _answers(url: str, password: str, seconds: float) -> bool:
    # http.client takes no notice of proxies, which must not stand between two processes of one machine
    host, _, path = url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host, timeout=seconds)
    try:
        connection.request("GET", f"/{path}/health", headers={"Authorization": f"Basic {b64encode(password.encode()).decode()}"})
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()


def _bypass_proxy() -> None:
    for name in ("NO_PROXY", "no_proxy"):
        listed = [host for host in os.environ.get(name, "").split(",") if host]
        if LOOPBACK not in listed:
            os.environ[name] = ",".join([*listed, LOOPBACK])


def _say_everything() -> None:
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogHandler

    with contextlib.suppress(Exception):
        APILogHandler.flush(APILogHandler())
    with contextlib.suppress(Exception):
        EventsWorker.drain_all(timeout=5)
