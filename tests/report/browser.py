"""A headless Chromium over its debugging pipe: opens pages, asks them, and notes what they ask for."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
from base64 import b64decode
from contextlib import contextmanager
from select import select
from time import monotonic
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

_FLAGS = (
    *("--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--no-first-run", "--disable-extensions", "--disable-background-networking", "--disable-component-update"),
    *("--hide-scrollbars", "--mute-audio", "--use-mock-keychain", "about:blank"),
)
_PATIENCE = 60.0  # seconds
_FIRST_FREE = 10  # Chromium wants 3 and 4 for itself


class Page:
    """One tab.

    Attributes:
        complaints: what it said on its console: errors, warnings and refused requests.
        requests: addresses that it asked for, its own among them.
    """

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session
        self.complaints: list[str] = []
        self.requests: list[str] = []
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.call(method, parameters, self._session)

    def hear(self, method: str, said: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(said["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(said["exceptionDetails"].get("exception", said)))
        elif method == "Log.entryAdded":
            self.complaints.append(said["entry"]["text"])
        elif method == "Runtime.consoleAPICalled" and said["type"] in ("error", "warning", "assert"):
            self.complaints.append(str(said["args"]))

    def open(self, path: Path, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=path.as_uri())
        self.until("document.readyState === 'complete'")
        self.settle()

    def ask(self, expression: str) -> Any:
        """What an expression gives, as JSON; a promise is waited for.

        Raises:
            AssertionError: it throws.
        """
        done = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def until(self, expression: str) -> None:
        end = monotonic() + _PATIENCE
        while not self.ask(expression):
            assert monotonic() < end, expression

    def settle(self) -> None:
        """Wait until what was drawn is there: two frames."""
        self.ask("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")

    def click(self, selector: str) -> None:
        """As a person does, in the middle of it: what covers it gets the click."""
        where = (
            f"(() => {{ const it = document.querySelector({json.dumps(selector)});"
            " it.scrollIntoView({ block: 'center' });"
            " const box = it.getBoundingClientRect();"
            " return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        x, y = self.ask(where)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
        self.settle()

    def type(self, text: str) -> None:
        self.call("Input.insertText", text=text)
        self.settle()

    def press(self, key: str) -> None:
        codes = {"Enter": 13, "Escape": 27, "ArrowDown": 40, "End": 35, "Tab": 9}
        for kind in ("rawKeyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=codes.get(key, 0)
            )
        self.settle()

    def screenshot(self, path: Path, *, whole: bool = True) -> None:
        done = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(b64decode(done["data"]))

    def pdf(self) -> bytes:
        return b64decode(self.call("Page.printToPDF", printBackground=True)["data"])


class Browser:
    """The process, and the messages to and from it."""

    def __init__(self, folder: Path) -> None:
        assert CHROMIUM is not None
        pipes = [os.pipe(), os.pipe()]
        (theirs_in, self._to), (self._from, theirs_out) = [
            tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE) for end in pipe) for pipe in pipes
        ]
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_DUP2, theirs_in, 3),
            (os.POSIX_SPAWN_DUP2, theirs_out, 4),
        ]
        command = [CHROMIUM, f"--user-data-dir={folder}", *_FLAGS]
        self._process = os.posix_spawn(CHROMIUM, command, os.environ, file_actions=actions)
        for end in (*pipes[0], *pipes[1], theirs_in, theirs_out):
            os.close(end)
        self._rest = b""
        self._last = 0
        self._pages: dict[str, Page] = {}

    def page(self) -> Page:
        target = self.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        page = Page.__new__(Page)
        self._pages[session] = page
        page.__init__(self, session)  # type: ignore[misc]  # what it enables is heard from the first on
        return page

    def call(self, method: str, parameters: dict[str, Any], session: str | None = None) -> dict[str, Any]:
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters}
        message |= {} if session is None else {"sessionId": session}
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            said = self._next()
            if said.get("id") == self._last:
                assert "error" not in said, said["error"]
                found: dict[str, Any] = said["result"]
                return found
            if (page := self._pages.get(said.get("sessionId", ""))) is not None:
                page.hear(said["method"], said["params"])

    def _next(self) -> dict[str, Any]:
        chunks = [self._rest]
        while b"\0" not in chunks[-1]:
            assert select([self._from], [], [], _PATIENCE)[0], "the browser does not answer"
            chunks.append(os.read(self._from, 1 << 16))
            assert chunks[-1], "the browser is gone"
        message, _, self._rest = b"".join(chunks).partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    def close(self) -> None:
        os.close(self._to)
        os.close(self._from)
        os.kill(self._process, signal.SIGTERM)
        os.waitpid(self._process, 0)


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A browser with its files in the folder, ended at the end."""
    started = Browser(folder)
    try:
        yield started
    finally:
        started.close()
