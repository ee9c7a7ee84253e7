# SPDX-License-Identifier: GPL-2.0
"""A page in Debian's chromium, without a window, by the pipe that it has for
debuggers: a JSON message a time, each with a NUL behind it."""

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time

PROGRAM = "chromium"
PATIENCE = 60           # seconds, for an answer


def above(fd):
    """The same file by a number of 10 at least."""
    high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(fd)
    return high


class Browser:
    """One tab."""

    def __init__(self):
        self.home = tempfile.mkdtemp(prefix="fbuf-browser-")
        # Above 4, so that none is in the way of another.
        commands_out, self.commands = map(above, os.pipe())
        self.answers, answers_in = map(above, os.pipe())
        null = above(os.open(os.devnull, os.O_RDWR))
        self.pid = os.posix_spawnp(
            PROGRAM, [PROGRAM, "--headless", "--remote-debugging-pipe", "--no-sandbox",
                      "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
                      "--no-first-run", f"--user-data-dir={self.home}", "about:blank"],
            {**os.environ, "HOME": self.home},
            file_actions=[(os.POSIX_SPAWN_DUP2, commands_out, 3),
                          (os.POSIX_SPAWN_DUP2, answers_in, 4),
                          (os.POSIX_SPAWN_DUP2, null, 1), (os.POSIX_SPAWN_DUP2, null, 2)])
        for fd in (commands_out, answers_in, null):
            os.close(fd)
        self.buffer = b""
        self.nr = 0
        self.session = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target,
                                 flatten=True)["sessionId"]
        self.call("Page.enable")
        # What the page asks of the network, or complains of.
        self.requests, self.complaints = [], []
        self.call("Network.enable")
        self.call("Log.enable")
        self.call("Runtime.enable")

    def close(self):
        os.close(self.commands)
        os.close(self.answers)
        # Without its pipe it ends; and if it does not, it is ended.
        for _ in range(100):
            if os.waitpid(self.pid, os.WNOHANG)[0]:
                break
            time.sleep(0.1)
        else:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        shutil.rmtree(self.home, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def read(self):
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.answers], [], [], PATIENCE)
            data = os.read(self.answers, 1 << 20) if ready else b""
            if not data:
                raise RuntimeError(f"{PROGRAM} ended, or does not answer")
            self.buffer += data
        message, self.buffer = self.buffer.split(b"\0", 1)
        message = json.loads(message)
        params = message.get("params", {})
        if message.get("method") == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif message.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown"):
            self.complaints.append(params)
        return message

    def call(self, method, **params):
        self.nr += 1
        message = {"id": self.nr, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.read()
            if answer.get("id") == self.nr:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def open(self, path, width, *, dark=False, height=900, media=""):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=width < 600)
        self.call("Emulation.setEmulatedMedia", media=media, features=[
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        self.call("Page.navigate", url="file://" + os.path.abspath(path))
        while self.read().get("method") != "Page.loadEventFired":
            pass

    def run(self, script):
        """The value of an expression in the page."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def screenshot(self, path, top=0, height=None):
        width, whole = self.run("[document.documentElement.clientWidth,"
                                " document.documentElement.scrollHeight]")
        clip = {"x": 0, "y": top, "width": width, "height": height or whole, "scale": 1}
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        with open(path, "wb") as file:
            file.write(base64.b64decode(shot["data"]))

    def pdf(self):
        return base64.b64decode(self.call("Page.printToPDF", printBackground=True)["data"])
