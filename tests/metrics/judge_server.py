"""A real HTTP server on the loopback that behaves badly in the ways that endpoints do."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Behaviour = Callable[["Handler", str, int], str | None]
"""Given the handler, the prompt, and how often it was asked before: the reply's text; or None, when
the behaviour has answered by itself."""


class Server(ThreadingHTTPServer):
    """Notes what it was asked, and how many asked at once."""

    daemon_threads = True

    def __init__(self, behaviour: Behaviour):
        super().__init__(("127.0.0.1", 0), Handler)
        self.behaviour = behaviour
        self.lock = threading.Lock()
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.times: list[float] = []
        self.now = self.most = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is no error of the server."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = body["messages"][0]["content"]
        with self.server.lock:
            before = sum(one["messages"][0]["content"] == prompt for one in self.server.asked)
            self.server.asked.append({"path": self.path, **body})
            self.server.keys.append(self.headers["Authorization"])
            self.server.times.append(time.monotonic())
            self.server.now += 1
            self.server.most = max(self.server.most, self.server.now)
        try:
            reply = self.server.behaviour(self, prompt, before)
            if reply is not None:
                self.complete(reply)
        finally:
            with self.server.lock:
                self.server.now -= 1

    def complete(self, reply: str) -> None:
        self.send(200, json.dumps({"choices": [{"message": {"content": reply}}]}))

    def send(self, status: int, text: str, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def drop(self) -> None:
        """Closes the connection without a word."""
        self.close_connection = True
        self.connection.close()

    def log_message(self, *args: Any) -> None:
        """Silent."""


@contextmanager
def serving(behaviour: Behaviour) -> Iterator[Server]:
    server = Server(behaviour)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
