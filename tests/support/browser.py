"""A headless Chromium that opens pages, clicks and presses keys, driven by the DevTools protocol through a pipe."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

PROGRAM = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
MISSING = "needs Chromium: apt-get install chromium"
KEYS = {"Enter": 13, "Escape": 27, "ArrowUp": 38, "ArrowDown": 40, "Tab": 9, "/": 191}


class Browser:
    """One tab. errors: exceptions and refused requests of its pages."""

    def __init__(self, folder: Path, width: int = 1280, height: int = 900) -> None:
        """folder: for the browser's own files."""
        assert PROGRAM is not None, MISSING
        (theirs, self._out), (self._in, back) = os.pipe(), os.pipe()
        flags = [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--disable-background-networking", "--hide-scrollbars", "--remote-debugging-pipe", f"--user-data-dir={folder}",
        ]  # fmt: skip
        script = f'exec "$@" 3<&{theirs} 4>&{back}'
        self._process = subprocess.Popen(
            ["bash", "-c", script, "bash", PROGRAM, *flags, "about:blank"], pass_fds=(theirs, back), stderr=subprocess.DEVNULL
        )
        os.close(theirs)
        os.close(back)
        self._rest, self._number, self.errors = b"", 0, list[str]()
        self._session: str | None = None
        tab = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=tab, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")
        self.resize(width, height)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.terminate()
        self._process.wait(20)
        os.close(self._out)
        os.close(self._in)

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Returns the result of a command of the protocol. Raises AssertionError with the browser's words if it fails."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != self._number:
            continue
        assert "error" not in answer, f"{method}: {answer['error']}"
        return dict(answer["result"])

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            piece = os.read(self._in, 2**20)
            assert piece, "Chromium ended"
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        told = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            self.errors.append(str(told["exceptionDetails"].get("exception", told["exceptionDetails"]).get("description")))
        if message.get("method") == "Log.entryAdded" and told["entry"]["level"] == "error":
            self.errors.append(told["entry"]["text"])
        return message

    def open(self, file: Path, fragment: str = "") -> None:
        """Opens a file, and waits until its script has drawn."""
        self.send("Page.navigate", url="about:blank")
        self.send("Page.navigate", url=f"{file.resolve().as_uri()}{fragment}")
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def wait(self, condition: str, tries: int = 200) -> None:
        """Waits until an expression is true. Raises AssertionError after ten seconds."""
        sleep = "new Promise((done) => setTimeout(() => done(Boolean({})), 50))"
        for _ in range(tries):
            try:
                if self.value(sleep.format(condition)):
                    return
            except AssertionError as error:
                if "navigated" not in str(error):  # the page is loading itself anew
                    raise
        raise AssertionError(condition)

    def value(self, expression: str) -> Any:
        """Returns the value of an expression of JavaScript, which may be a promise."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def text(self, selector: str) -> str:
        """Returns the text of an element as the page shows it."""
        return str(self.value(f"document.querySelector({json.dumps(selector)}).innerText"))

    def texts(self, selector: str) -> list[str]:
        return list(self.value(f"[...document.querySelectorAll({json.dumps(selector)})].map((each) => each.innerText)"))

    def click(self, selector: str) -> None:
        """Scrolls to an element and clicks at its middle with the mouse."""
        found = f"document.querySelector({json.dumps(selector)})"
        self.value(f"{found}.scrollIntoView({{block: 'center'}})")
        x, y = self.value(
            f"(() => {{ const b = {found}.getBoundingClientRect(); return [b.x + b.width/2, b.y + b.height/2] }})()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str) -> None:
        """Presses a key of KEYS, or types a letter."""
        text = {"text": "\r"} if key == "Enter" else {"text": key} if len(key) == 1 else {}
        code = KEYS.get(key, ord(key[0].upper()))
        self.send("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code, **text)
        self.send("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def type(self, words: str) -> None:
        self.send("Input.insertText", text=words)

    def resize(self, width: int, height: int) -> None:
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def colours(self, scheme: str, media: str = "") -> None:
        """scheme: light or dark, as the system prefers. media: print, for the page on paper."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.send("Emulation.setEmulatedMedia", media=media, features=features)

    def picture(self, file: Path, whole: bool = True) -> None:
        """Writes a PNG of the page. whole: beyond the window, too."""
        data = self.send("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        file.write_bytes(base64.b64decode(data))
