"""A client of debugpy, as an editor is one: the Debug Adapter Protocol, https://microsoft.github.io/debug-adapter-protocol."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from pathlib import Path
from typing import Any

PATIENCE_SEC = 20.0

_attaching = threading.Lock()
"""Of two processes that were attached to at one time, debugpy's adapter has answered neither."""


class SilentAdapterError(Exception):
    """The debug adapter has not answered those that attach to a process which a debugged one has started."""


class DebugSession:
    """A session with one debugged process; those that it starts get sessions of their own, which only let them run.

    Parameters:
        port: where its debug adapter listens.
        breakpoints: lines at which it stops, by file.
        configuration: what the adapter has said of a process that another one has started.
    """

    def __init__(
        self, port: int, breakpoints: dict[Path, list[int]], configuration: dict[str, Any] | None = None
    ) -> None:
        self.children: list[str] = []
        """The names of the sessions of the processes that it has started."""
        self._unattached: set[str] = set()
        self._threads: list[threading.Thread] = []
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SEC)
        self._stream = self._socket.makefile("rwb")
        self._sent = 0
        self._events: list[dict[str, Any]] = []
        self._answers: dict[int, dict[str, Any]] = {}
        try:
            self._attach(breakpoints, configuration or {"justMyCode": False, "subProcess": True})
        except BaseException:
            self.close()
            raise

    def _attach(self, breakpoints: dict[Path, list[int]], configuration: dict[str, Any]) -> None:
        self.ask("initialize", adapterID="debugpy", pathFormat="path", linesStartAt1=True, columnsStartAt1=True)
        attached = self._send("attach", configuration)
        self.wait_for("initialized")
        for path, lines in breakpoints.items():
            self.ask("setBreakpoints", source={"path": str(path)}, breakpoints=[{"line": line} for line in lines])
        self.ask("configurationDone")
        self._answer(attached)

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Return the body of the answer to a request."""
        return self._answer(self._send(command, arguments))

    def wait_for(self, event: str) -> dict[str, Any]:
        """Return the body of the next event of a kind."""
        while True:
            for index, each in enumerate(self._events):
                if each["event"] == event:
                    return self._events.pop(index).get("body", {})
            self._read()

    def evaluate(self, expression: str) -> str:
        """Return the value of an expression where the process has stopped, as its ``repr``."""
        (frame, *_) = self.ask("stackTrace", threadId=self._thread())["stackFrames"]
        return self.ask("evaluate", expression=expression, frameId=frame["id"], context="repl")["result"]

    def resume(self) -> None:
        """Let the process run on."""
        self.ask("continue", threadId=self._thread())

    def close(self) -> None:
        """End the sessions; the processes run on."""
        self._stream.close()
        self._socket.close()
        for thread in self._threads:
            thread.join(PATIENCE_SEC)

    def _thread(self) -> int:
        return next(each["id"] for each in self.ask("threads")["threads"] if each["name"] == "MainThread")

    def _send(self, command: str, arguments: dict[str, Any]) -> int:
        self._sent += 1
        body = {"seq": self._sent, "type": "request", "command": command, "arguments": arguments}
        content = json.dumps(body).encode()
        self._stream.write(b"Content-Length: %d\r\n\r\n%b" % (len(content), content))
        self._stream.flush()
        return self._sent

    def _answer(self, number: int) -> dict[str, Any]:
        while number not in self._answers:
            self._read()
        answer = self._answers.pop(number)
        assert answer["success"], answer
        return answer.get("body", {})

    def _read(self) -> None:
        length = 0
        try:
            while line := self._stream.readline().strip():
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
        except TimeoutError:
            if self._unattached:
                raise SilentAdapterError(f"not attached to: {self._unattached}") from None
            raise
        if not length:
            raise ConnectionError("The debug adapter has closed the connection")
        message = json.loads(self._stream.read(length))
        if message["type"] == "response":
            self._answers[message["request_seq"]] = message
        elif message["type"] == "event" and message["event"] == "debugpyAttach":
            configuration = message["body"]
            self.children.append(configuration["name"])
            self._unattached.add(configuration["name"])
            self._threads.append(threading.Thread(target=self._follow, args=(configuration,)))
            self._threads[-1].start()
        elif message["type"] == "event":
            self._events.append(message)

    def _follow(self, configuration: dict[str, Any]) -> None:
        """Attach to a process that the debugged one has started, so that it runs, and follow it to its end."""
        with contextlib.suppress(ConnectionError, TimeoutError):
            with _attaching:
                session = DebugSession(configuration["connect"]["port"], {}, configuration)
            self._unattached.discard(configuration["name"])
            with contextlib.closing(session):
                session.wait_for("terminated")
