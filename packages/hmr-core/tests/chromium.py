"""Chromium without a window, driven as a person would: real clicks, real drags, and no network.

It is spoken to by its DevTools protocol through a pair of pipes, which needs no port and no package.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy import ndarray

from hmr_core.pictures import decode

NAMES = ("chromium", "chromium-browser", "google-chrome")
"""Debian's name first."""

ANSWER_S = 30
"""A browser that says nothing for so long has hung."""

PLOTLY = "Multiple readback operations using getImageData"
"""A remark on how fast Plotly writes in three dimensions."""


def find_chromium() -> str | None:
    """The browser, if this machine has one."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Chromium:
    """A tab of a browser. problems: errors and warnings of its console, and requests that left the page."""

    def __init__(self, program: str, profile: Path) -> None:
        read_ours, write_theirs = os.pipe()
        read_theirs, write_ours = os.pipe()
        # Chromium has its end at 3 and 4; higher ones do not get in each other's way when the shell moves them.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in (read_theirs, write_theirs)]
        options = [
            "--headless",
            "--no-sandbox",  # which root may not use
            "--disable-dev-shm-usage",
            "--use-angle=swiftshader",  # draws in three dimensions without a graphics card
            "--enable-unsafe-swiftshader",
            "--remote-debugging-pipe",
            "--host-resolver-rules=MAP * ~NOTFOUND",  # no name is found: there is no network
            "--no-first-run",
            "--window-size=1280,800",
            f"--user-data-dir={profile}",
        ]
        move = f'exec "$@" 3<&{ends[0]} 4>&{ends[1]}'
        self.process = subprocess.Popen(
            ["bash", "-c", move, "bash", program, *options, "about:blank"],
            pass_fds=ends,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for end in (read_theirs, write_theirs, *ends):
            os.close(end)
        self._read, self._write = read_ours, write_ours
        self._left, self._number, self._session = b"", 0, None
        self.problems: list[str] = []
        (target,) = [one for one in self.call("Target.getTargets")["targetInfos"] if one["type"] == "page"]
        attached = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        """End it, and wait until it has."""
        self._session = None
        self.call("Browser.close")
        self.process.wait(ANSWER_S)
        os.close(self._read)
        os.close(self._write)

    def call(self, method: str, **parameters: Any) -> Any:
        """Ask the browser for something, and wait for the answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._left:
            ready, _, _ = select.select([self._read], [], [], ANSWER_S)
            assert ready, "the browser does not answer"
            data = os.read(self._read, 1 << 20)
            assert data, "the browser has ended"
            self._left += data
        text, _, self._left = self._left.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, method: str, about: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            details = about["exceptionDetails"]
            self.problems.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Runtime.consoleAPICalled" and about["type"] in ("error", "warning", "assert"):
            self.problems.append(" ".join(str(one.get("value", one.get("description"))) for one in about["args"]))
        elif method == "Log.entryAdded" and about["entry"]["level"] in ("error", "warning"):
            if PLOTLY not in about["entry"]["text"]:
                self.problems.append(about["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            url = about["request"]["url"]
            if not url.startswith(("file:", "data:", "blob:")):
                self.problems.append(f"asked for {url}")

    def open(self, path: Path, width: int = 1280, height: int = 800) -> None:
        """Open a file, and wait until it is loaded."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Page.navigate", url=path.as_uri())
        self.until("document.readyState === 'complete'")

    def value(self, expression: str) -> Any:
        """What a JavaScript expression is in the page."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, f"{expression}: {found['exceptionDetails']}"
        return found["result"].get("value")

    def until(self, expression: str) -> None:
        """Wait until a JavaScript expression is true."""
        end = time.monotonic() + ANSWER_S
        while not self.value(f"Boolean({expression})"):
            assert time.monotonic() < end, f"never came true: {expression}"
            time.sleep(0.02)

    def place(self, element: str) -> tuple[float, float, float, float]:
        """The left, top, width and height of an element on the screen, which is scrolled to it. element: JavaScript."""
        left, top, width, height = self.value(
            f"(() => {{ const one = {element}; one.scrollIntoView({{block: 'center', behavior: 'instant'}});"
            " const box = one.getBoundingClientRect(); return [box.left, box.top, box.width, box.height]; })()"
        )
        return left, top, width, height

    def middle(self, element: str) -> tuple[float, float]:
        """The middle of an element on the screen."""
        left, top, width, height = self.place(element)
        return left + width / 2, top + height / 2

    def mouse(self, kind: str, x: float, y: float, *, down: bool = False) -> None:
        """The mouse is moved, or its button pressed or released."""
        button = "none" if kind == "mouseMoved" and not down else "left"
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, buttons=int(down), clickCount=1)

    def click(self, element: str) -> None:
        """Click on the middle of an element. element: JavaScript."""
        self.click_at(*self.middle(element))

    def click_at(self, x: float, y: float) -> None:
        """Click on a place of the screen."""
        self.mouse("mouseMoved", x, y)
        self.mouse("mousePressed", x, y, down=True)
        self.mouse("mouseReleased", x, y)

    def drag(self, x: float, y: float, to_x: float, to_y: float) -> None:
        """Drag from one place of the screen to another, in two steps."""
        self.mouse("mouseMoved", x, y)
        self.mouse("mousePressed", x, y, down=True)
        for step in (1, 2):
            self.mouse("mouseMoved", x + (to_x - x) * step / 2, y + (to_y - y) * step / 2, down=True)
        self.mouse("mouseReleased", to_x, to_y)

    def press(self, key: str) -> None:
        """Press a key, such as "Escape"."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=27)

    def picture(self, element: str | None = None) -> ndarray:
        """What is on the screen, or of an element, as RGB pixels. element: JavaScript."""
        box = None if element is None else self.place(element)
        image = decode(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))
        assert image is not None
        if box is None:
            return image
        left, top, width, height = (max(0, round(number)) for number in box)
        return image[top : top + height, left : left + width]


@contextmanager
def chromium(program: str, profile: Path) -> Iterator[Chromium]:
    """A browser, ended when the block is."""
    browser = Chromium(program, profile)
    try:
        yield browser
        browser.close()
    finally:
        if browser.process.poll() is None:
            os.killpg(browser.process.pid, 9)
            browser.process.wait()
