"""A headless Chromium driven by its DevTools protocol over loopback: what a page asks for, complains of and
looks like."""

from __future__ import annotations

import base64
import itertools
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
    "--remote-allow-origins=*",
    "--hide-scrollbars",
)


def chromium() -> str:
    """Path of the browser, '' when there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome") or ""


@dataclass
class Seen:
    """What happened while a page was open."""

    requests: list[str] = field(default_factory=list)
    console: list[str] = field(default_factory=list)
    overflow: int = 0
    text: str = ""
    dialogs: int = 0


class Browser:
    """Use as a context manager; `open` visits a file."""

    def __enter__(self) -> Browser:
        self._home = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        self._process = subprocess.Popen(
            [chromium(), *FLAGS, f"--user-data-dir={self._home.name}", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        port_file = Path(self._home.name) / "DevToolsActivePort"
        until = time.monotonic() + 60
        while not (port_file.exists() and port_file.read_text().count("\n")):
            if time.monotonic() > until or self._process.poll() is not None:
                raise RuntimeError("chromium did not start")
            time.sleep(0.05)
        self._port = port_file.read_text().splitlines()[0]
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._home.cleanup()

    def open(self, path: Path, width: int = 1280, picture: Path | None = None, pdf: Path | None = None, script: str = "") -> Seen:
        """Visit `path` at `width` pixels; requests beyond the file itself, console messages, sideways
        overflow in pixels."""
        tab = _Tab(self._port)
        try:
            return tab.visit(path, width, picture, pdf, script)
        finally:
            tab.close()


class _Tab:
    def __init__(self, port: str) -> None:
        import websocket

        request = urllib.request.Request(f"http://127.0.0.1:{port}/json/new?about:blank", method="PUT")
        with urllib.request.urlopen(request, timeout=30) as answer:
            self._target = json.loads(answer.read())
        self._port = port
        self._socket = websocket.create_connection(self._target["webSocketDebuggerUrl"], timeout=60)
        self._ids = itertools.count(1)
        self._events: list[dict[str, Any]] = []

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == number:
                assert "error" not in message, message["error"]
                return message["result"]
            self._events.append(message)

    def visit(self, path: Path, width: int, picture: Path | None, pdf: Path | None, script: str) -> Seen:
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 2 if width < 500 else 1, "mobile": width < 500}
        self.call("Emulation.setDeviceMetricsOverride", **metrics)
        url = path.resolve().as_uri()
        self.call("Page.navigate", url=url)
        while not any(event.get("method") == "Page.loadEventFired" for event in self._events):
            self._events.append(json.loads(self._socket.recv()))
        if script:
            self.evaluate(script)
        time.sleep(0.2)
        seen = Seen(overflow=int(self.evaluate("document.documentElement.scrollWidth - window.innerWidth")))
        seen.text = str(self.evaluate("document.body.innerText"))
        if picture is not None:
            height = int(self.evaluate("document.documentElement.scrollHeight"))
            self.call("Emulation.setDeviceMetricsOverride", **{**metrics, "height": max(900, height)})
            shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=False)
            picture.write_bytes(base64.b64decode(shot["data"]))
        if pdf is not None:
            pdf.write_bytes(base64.b64decode(self.call("Page.printToPDF", preferCSSPageSize=True)["data"]))
        self._collect(seen, url)
        return seen

    def evaluate(self, expression: str) -> Any:
        return self.call("Runtime.evaluate", expression=expression)["result"].get("value")

    def _collect(self, seen: Seen, url: str) -> None:
        for event in self._events:
            method, parameters = event.get("method"), event.get("params", {})
            if method == "Network.requestWillBeSent":
                asked = parameters["request"]["url"]
                if asked != url and not asked.startswith("data:"):
                    seen.requests.append(asked)
            elif method == "Runtime.consoleAPICalled":
                seen.console.append(str(parameters["args"]))
            elif method == "Runtime.exceptionThrown":
                seen.console.append(str(parameters["exceptionDetails"]))
            elif method == "Log.entryAdded":
                seen.console.append(parameters["entry"]["text"])
            elif method == "Page.javascriptDialogOpening":
                seen.dialogs += 1

    def close(self) -> None:
        self._socket.close()
        urllib.request.urlopen(f"http://127.0.0.1:{self._port}/json/close/{self._target['id']}", timeout=10).close()
