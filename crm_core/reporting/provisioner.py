"""A Jupyter kernel provisioner that forks kernels from a warm process instead of starting Python again for
each.

Nearly all of a small notebook's time is kernel start and imports; a fork of a process that has them done is
ready in some tenths of a second. Kernels talk over IPC sockets, each in a private short-lived folder of its
own (TCP kernels are readable by every user of the machine, and the default relative IPC name collides
between kernels). Where fork or IPC is missing, or the server does not come up, the stock provisioner does
the work; nothing else changes.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning import LocalProvisioner

NAME = "crm-forkserver"
LONGEST_SOCKET_PATH = 90  # Linux takes 107 bytes, macOS 103; '/k-5' and a margin come off
START_SECONDS = 120.0


class ForkServer:
    """One warm process and the conversation with it; thread-safe. Use `server()`, which keeps one per
    process."""

    def __init__(self, modules: tuple[str, ...] = ()) -> None:
        """Start the process; `modules` replaces the default list of imports (tests keep it short)."""
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", "crm_core.reporting.forkserver", str(theirs.fileno()), *modules]
            environment = {**os.environ, "PYTHONPATH": _python_path()}
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environment, stdin=subprocess.DEVNULL)
        self._socket = ours
        self._send_lock = threading.Lock()
        self._changed = threading.Condition()
        self._next_id = 0
        self._pids: dict[int, int] = {}
        self._codes: dict[int, int] = {}
        self.missing: list[str] = []
        self.ready = False
        self.closed = False
        self.owner = os.getpid()
        threading.Thread(target=self._listen, name="crm-forkserver", daemon=True).start()

    def wait_ready(self, seconds: float = START_SECONDS) -> bool:
        """True when the imports are done; False when the process ended or took longer than `seconds`."""
        with self._changed:
            self._changed.wait_for(lambda: self.ready or self.closed, seconds)
            return self.ready and not self.closed

    def fork(self, argv: list[str], *, env: dict[str, str], cwd: str | None, log: Path) -> ForkedProcess:
        """Fork a kernel with `argv` (what follows `ipykernel_launcher`); OSError when the server is gone."""
        with self._send_lock:
            self._next_id += 1
            number = self._next_id
            request = {"id": number, "argv": argv, "env": env, "cwd": cwd, "log": str(log)}
            self._socket.sendall(json.dumps(request).encode() + b"\n")
        with self._changed:
            answered = self._changed.wait_for(lambda: number in self._pids or self.closed, 30)
            if not answered or number not in self._pids:
                raise OSError("the kernel fork server has ended")
            return ForkedProcess(self, self._pids.pop(number))

    def code(self, pid: int) -> int | None:
        """Exit code of a forked kernel, or None while it runs."""
        with self._changed:
            return self._codes.get(pid, -signal.SIGKILL if self.closed else None)

    def wait(self, pid: int, timeout: float | None) -> int:
        """Wait for a kernel's end; subprocess.TimeoutExpired after `timeout` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: pid in self._codes or self.closed, timeout):
                raise subprocess.TimeoutExpired("kernel", timeout or 0.0)
            return self._codes.get(pid, -signal.SIGKILL)

    def close(self) -> None:
        """End the server; it kills the kernels that still run."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        if not self.ready:  # it is importing still, hears nothing and has no kernels
            self._process.kill()
        self._process.wait(10)

    def _listen(self) -> None:
        try:
            for line in self._socket.makefile("rb"):
                message = json.loads(line)
                with self._changed:
                    if "ready" in message:
                        self.ready, self.missing = True, message["missing"]
                    elif "id" in message:
                        self._pids[message["id"]] = message["pid"]
                    else:
                        self._codes[message["pid"]] = message["code"]
                    self._changed.notify_all()
        except (OSError, ValueError):
            pass
        with self._changed:
            self.closed = True
            self._changed.notify_all()


class ForkedProcess:
    """What `LocalProvisioner` needs of a `subprocess.Popen`, for a child of the fork server."""

    stdin = stdout = stderr = None

    def __init__(self, server: ForkServer, pid: int) -> None:
        self._server = server
        self.pid = pid

    def poll(self) -> int | None:
        """Exit code, or None while the kernel runs."""
        return self._server.code(self.pid)

    def wait(self, timeout: float | None = None) -> int:
        """Exit code after the end."""
        return self._server.wait(self.pid, timeout)

    def send_signal(self, number: int) -> None:
        """Send a signal to the kernel if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End the kernel at once."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Ask the kernel to end."""
        self.send_signal(signal.SIGTERM)


_lock = threading.Lock()
_server: ForkServer | None = None


def forks() -> bool:
    """True where this machine can fork and has Unix sockets."""
    return hasattr(os, "fork") and hasattr(socket, "AF_UNIX") and sys.platform.startswith("linux")


def server() -> ForkServer | None:
    """The fork server of this process, started when there is none; None where it cannot be had."""
    global _server
    if not forks():
        return None
    with _lock:
        if _server is None or _server.closed or _server.owner != os.getpid():
            try:
                _server = ForkServer()
            except OSError:
                return None
            atexit.register(_server.close)
        return _server


def warm() -> None:
    """Start importing now, in the background, so that the first kernel does not wait; safe to call more
    than once."""
    server()


class ForkServerProvisioner(LocalProvisioner):  # type: ignore[misc]
    """Entry point `crm-forkserver`: launches kernels by fork over IPC, or as `LocalProvisioner` where that
    is impossible."""

    _folder: Path | None = None

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Give the kernel manager an IPC address in a private folder before it writes its connection file."""
        manager = self.parent
        if manager is not None and server() is not None and self._folder is None:
            folder = _short_folder()
            if folder is not None:
                self._folder = folder
                manager.transport = "ipc"
                manager.ip = str(folder / "k")
                manager.connection_file = str(folder / "connection.json")
        prepared: dict[str, Any] = await super().pre_launch(**kwargs)
        return prepared

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Fork the kernel that `cmd` describes; a command that is not ipykernel's goes to the stock
        provisioner."""
        warm_server = server() if self._folder is not None and "ipykernel_launcher" in cmd else None
        if warm_server is None or not warm_server.wait_ready():
            return await super().launch_kernel(cmd, **kwargs)
        argv = cmd[cmd.index("ipykernel_launcher") + 1 :]
        assert self._folder is not None
        try:
            process = warm_server.fork(
                argv, env=kwargs.get("env") or dict(os.environ), cwd=kwargs.get("cwd"), log=self._folder / "log"
            )
        except OSError:
            return await super().launch_kernel(cmd, **kwargs)
        self.process = process
        self.pid = self.pgid = process.pid
        self.cwd = kwargs.get("cwd")
        self._wait_bound(process)
        return self.connection_info

    async def cleanup(self, restart: bool = False) -> None:
        """Remove the private folder with its sockets."""
        await super().cleanup(restart=restart)
        if self._folder is not None and not restart:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _wait_bound(self, process: ForkedProcess) -> None:
        # A client that connects before the socket exists retries only every so often; the file appears
        # within tenths.
        assert self._folder is not None
        until = time.monotonic() + 20
        while process.poll() is None and time.monotonic() < until:
            if any(self._folder.glob("k-*")):
                return
            time.sleep(0.005)


def _short_folder() -> Path | None:
    """A new folder of mode 0700 whose socket paths are short enough, or None."""
    for place in (tempfile.gettempdir(), "/tmp"):
        if len(os.fsencode(place)) + 16 <= LONGEST_SOCKET_PATH and os.access(place, os.W_OK):
            return Path(tempfile.mkdtemp(prefix="crm-", dir=place))
    return None


def _python_path() -> str:
    # The server must find this very package, also when it runs from a source tree that is not installed.
    root = str(Path(__file__).resolve().parents[2])
    given = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    return os.pathsep.join(dict.fromkeys([root, *given]))
