"""A model behind an OpenAI-compatible endpoint: one question, one reply, within bounds.

Every question is asked at most `attempts` times, with waits that double or that the server names
(`Retry-After`), and never after `seconds` have passed. A request is cut off after `timeout` seconds
whatever arrives. Redirects are not followed: nothing goes to a place that the study does not name.
Source of the form: https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import socket
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import SplitResult, urlsplit

FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
"""Seconds before the second attempt; they double up to the longest."""
_AGAIN = frozenset([408, 409, 425, 429])
_REFUSED = frozenset([401, 402, 403, 404, 405])
_IN_A_ROW = 5
"""Questions given up one after the other, after which no more are asked."""
_MOST_BYTES = 1 << 22


class Unanswered(Exception):  # noqa: N818 - one question's end, counted by its asker
    """A question that got no reply, with the reason."""


class Endpoint:
    """Asks from many threads at once. `sent` counts requests, `troubles` what went wrong."""

    def __init__(self, url: str, key: str | None, *, timeout: float, attempts: int, seconds: float):
        self.url = urlsplit(url.rstrip("/") + "/chat/completions")
        self._key = key
        self._timeout, self._attempts = timeout, attempts
        self._deadline = time.monotonic() + seconds
        self._open_from = 0.0  # when the server wants to be asked again
        self._given_up = 0
        self._closed = threading.Event()
        self._why = ""
        self._lock = threading.Lock()
        self.sent = 0
        self.troubles: Counter[str] = Counter()

    def close(self, why: str) -> None:
        """Lets nobody ask any more; who waits for another attempt stops at once."""
        self._why = self._why or why
        self._closed.set()

    def ask(self, question: Mapping[str, Any]) -> str:
        """The reply's text. Raises Unanswered with the reason when there is none in time."""
        reason = ""
        for attempt in range(self._attempts):
            self._wait(attempt, reason)
            try:
                status, headers, body = self._post(json.dumps(question).encode())
                reason, reply = self._read(status, body)
            except (OSError, http.client.HTTPException) as error:
                status, headers = 0, {}
                reason, reply = f"{type(error).__name__}: {error}"[:200], None
            if reply is not None:
                self._given_up = 0
                return reply
            with self._lock:
                self.troubles[f"status {status}" if status else reason.partition(":")[0]] += 1
            if status in _REFUSED or 300 <= status < 400:
                self.close(f"the endpoint refuses ({reason})")
                raise Unanswered(self._why)
            if status and status != 200 and status not in _AGAIN and status < 500:
                raise Unanswered(reason)
            self._hold_off(headers)
        with self._lock:
            self._given_up += 1
            if self._given_up >= _IN_A_ROW:
                self.close(f"{_IN_A_ROW} questions in a row got no reply; the last: {reason}")
        raise Unanswered(f"{reason}, after {self._attempts} attempts")

    def _wait(self, attempt: int, reason: str) -> None:
        """Until the next attempt. Jitter keeps threads from coming back together."""
        pause = 0.0
        if attempt:
            pause = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (attempt - 1)) * random.uniform(0.5, 1.0)
        now = time.monotonic()
        start = max(now + pause, self._open_from)
        if start >= self._deadline:
            raise Unanswered(f"the time for judging is up{f' ({reason})' if reason else ''}")
        if self._closed.wait(start - now):
            raise Unanswered(self._why)

    def _hold_off(self, headers: Mapping[str, str]) -> None:
        """What `Retry-After` says, in seconds or as a date, holds for all threads."""
        said = headers.get("retry-after", "").strip()
        try:
            seconds = float(said) if said[:1].isdigit() else _until(said)
        except ValueError:
            return
        with self._lock:
            self._open_from = max(self._open_from, time.monotonic() + seconds)

    def _read(self, status: int, body: bytes) -> tuple[str, str | None]:
        """Why there is no reply, and the reply."""
        text = body.decode("utf-8", "replace")
        if self._key:
            text = text.replace(self._key, "***")
        if status != 200:
            return f"status {status}: {text[:200]}".rstrip(": "), None
        try:
            content = json.loads(text)["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError):
            return f"no chat completion: {text[:100]!r}", None
        return "", content if isinstance(content, str) else ""

    def _post(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        left = min(self._timeout, self._deadline - time.monotonic())
        if left <= 0:
            raise TimeoutError("no time left")
        connection, target = _connection(self.url, left)
        headers = {"Content-Type": "application/json", "User-Agent": "tuneoff"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        with self._lock:
            self.sent += 1
        cut = threading.Event()
        over: threading.Timer | None = None
        try:
            connection.connect()
            over = threading.Timer(left, _cut, [connection.sock, cut])
            over.daemon = True
            over.start()
            connection.request("POST", target, body, headers)
            response = connection.getresponse()
            content = response.read(_MOST_BYTES)
            if cut.is_set():  # what came may look whole
                raise TimeoutError(f"no whole reply within {left:.3g} s")
            found = {name.lower(): value for name, value in response.getheaders()}
            return response.status, found, content
        except (OSError, http.client.HTTPException) as error:
            if cut.is_set() and not isinstance(error, TimeoutError):
                raise TimeoutError(f"no whole reply within {left:.3g} s") from error
            raise
        finally:
            if over is not None:
                over.cancel()
            connection.close()


def _connection(url: SplitResult, timeout: float) -> tuple[http.client.HTTPConnection, str]:
    """A connection, by the environment's proxy where there is one, and what to ask it for."""
    host, port = url.hostname or "", url.port
    secure = url.scheme == "https"
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    path = url.path + (f"?{url.query}" if url.query else "")
    proxy = urllib.request.getproxies().get(url.scheme)
    local = host == "localhost" or host.startswith("127.") or host == "::1"
    if not proxy or local or urllib.request.proxy_bypass(host):
        return kind(host, port, timeout=timeout), path
    by = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    connection = kind(by.hostname or "", by.port, timeout=timeout)
    if not secure:
        return connection, url.geturl()
    connection.set_tunnel(host, port)
    return connection, path


def _cut(wire: socket.socket, cut: threading.Event) -> None:
    """Ends a request that is under way; who reads from it gets an error or nothing more."""
    cut.set()
    with contextlib.suppress(OSError):  # it has ended by itself
        wire.shutdown(socket.SHUT_RDWR)


def _until(date: str) -> float:
    """Seconds until an HTTP date. Raises ValueError for another text."""
    return max(0.0, parsedate_to_datetime(date).timestamp() - time.time())
