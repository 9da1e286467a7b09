"""A headless Chromium, spoken to in its DevTools protocol over a pipe: no port, no driver."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"),
    *("--disable-dev-shm-usage", "--hide-scrollbars", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-extensions"),
)

# becomes the program, which reads from file descriptor 3 and writes to 4
START = """
import fcntl, os, sys
reads, writes = (fcntl.fcntl(int(given), fcntl.F_DUPFD, 10) for given in sys.argv[1:3])
os.dup2(reads, 3), os.dup2(writes, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


def program() -> str | None:
    """The path of a Chromium, None where there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Page:
    """A page of the browser; `events` are all that the browser told meanwhile."""

    def __init__(self, asks: int, tells: int) -> None:
        self._asks, self._tells = asks, tells
        self._told = bytearray()  # whole messages, and the beginning of one
        self._session: str | None = None
        self._number = 0
        self.events: list[dict[str, Any]] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **parameters: Any) -> Any:
        """Calls a method of the protocol; its result."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._asks, json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != self._number:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def open(self, path: Path) -> None:
        """Opens a file, and waits until it is loaded."""
        self.events.clear()
        self.ask("Page.navigate", url=path.resolve().as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self._read())

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        answer = self.ask("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def shape(self, width: int, height: int, *, dark: bool = False, media: str = "") -> None:
        """Sets the size of the window, the colour scheme, and the medium (print)."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.ask("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", media=media, features=[scheme])

    def move(self, x: float, y: float) -> None:
        """Moves the mouse to a place of the window, in CSS pixels."""
        self.ask("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def faults(self) -> list[str]:
        """Errors of the console, exceptions, and requests for anything but the page itself."""
        found = []
        for event in self.events:
            method, told = event["method"], event["params"]
            if method == "Runtime.exceptionThrown" or (
                method == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning")
            ):
                found.append(json.dumps(told))
            elif method == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
                found.append(told["entry"]["text"])
            elif method == "Network.requestWillBeSent":
                url = told["request"]["url"]
                if not url.startswith("data:") and url != told["documentURL"]:
                    found.append(url)
        return found

    def _read(self) -> dict[str, Any]:
        searched = 0
        while (end := self._told.find(b"\0", searched)) < 0:
            searched = len(self._told)
            told = os.read(self._tells, 2**20)
            assert told, "the browser ended"
            self._told += told
        message = json.loads(self._told[:end])
        del self._told[: end + 1]
        return message


@contextmanager
def browser(profile: Path) -> Iterator[Page]:
    """A page of a new browser, which ends with the block."""
    path = program()
    assert path is not None
    ours, its, folder = os.pipe(), os.pipe(), f"--user-data-dir={profile}"
    process = subprocess.Popen(
        [sys.executable, "-c", START, f"{ours[0]}", f"{its[1]}", path, *FLAGS, folder],
        pass_fds=(ours[0], its[1]),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(ours[0])
    os.close(its[1])
    try:
        yield Page(ours[1], its[0])
    finally:
        process.kill()
        process.wait()
        os.close(ours[1])
        os.close(its[0])
