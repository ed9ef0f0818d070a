"""What every request passes: host, origin and token are checked, headers added, one line logged without any name.

The log has method, path, status and milliseconds; no address, no query, no file name, and of paths only those that exist.
"""

import asyncio
import hmac
import ipaddress
import json
import sys
import time
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from modicum.serving.limits import Refused
from modicum.serving.metrics import Metrics

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

OPEN = frozenset({"/", "/page.css", "/page.js", "/docs", "/docs.js", "/openapi.json", "/health", "/ready"})
"""Paths that need no token: they say nothing of any run."""
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cache-control", b"no-store"),
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
]
_DRAIN_SECONDS = 5.0


@dataclass(frozen=True)
class Access:
    """Who may ask.

    Attributes:
        hosts: names by which the server may be called, besides loopback names and IP addresses.
        token: that a request must bear; None for anybody.
    """

    hosts: frozenset[str] = frozenset()
    token: bytes | None = None

    def check(self, path: str, headers: dict[bytes, bytes]) -> None:
        """Raises :class:`Refused` for a request that may not be answered.

        A page of another site cannot have this server answer: neither by a name that it lets point here (DNS rebinding),
        nor by a request in the user's browser (its ``Origin`` is another).
        """
        host = headers.get(b"host", b"").decode("latin-1")
        if not self._is_known(host):
            raise Refused(
                400, "host", "this server is not called so; call it by its address, or see --allow-host"
            )
        origin = headers.get(b"origin")
        if origin is not None:
            asked_by = urlsplit(origin.decode("latin-1")).netloc
            if asked_by.lower() != host.lower() and _name_of(asked_by) not in self.hosts:
                raise Refused(403, "origin", "asked by a page of another origin; use this server's own page")
        if self.token is None or path in OPEN:
            return
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer" or not hmac.compare_digest(given.strip(), self.token):
            raise Refused(401, "token", "a token is needed; send the header 'Authorization: Bearer TOKEN'")

    def _is_known(self, host: str) -> bool:
        name = _name_of(host)
        if name == "localhost" or name in self.hosts:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def _name_of(host: str) -> str:
    """A host without its port, lower case; of an IPv6 address without brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.rpartition(":")[0].lower() if ":" in host else host.lower()


def write_log(line: str) -> None:
    """Writes one line to standard error."""
    sys.stderr.write(f"{line}\n")


class Gate:
    """ASGI middleware around the whole application.

    Args:
        app: what it guards.
        access: who may ask.
        runs: names that may stand in a logged path.
        metrics: counts refusals.
        max_drain: bytes of a refused request's body that are read and dropped, so that clients see the answer.
        log: writes a line.
    """

    def __init__(
        self,
        app: App,
        access: Access,
        runs: Collection[str],
        metrics: Metrics,
        max_drain: int,
        log: Callable[[str], None] = write_log,
    ) -> None:
        self._app, self._access, self._metrics, self._max_drain = app, access, metrics, max_drain
        self._log = log
        self._paths = OPEN | {"/runs", "/metrics"}
        self._paths |= {f"/runs/{run}{end}" for run in runs for end in ("", "/predict")}

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answers one request, or passes on what is none."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(receive, send, self._max_drain)
        began, path = time.perf_counter(), str(scope["path"])
        try:
            self._access.check(path, dict(scope["headers"]))
            await self._app(scope, exchange.receive, exchange.send)
        except Refused as refused:
            self._metrics.count("modicum_failures_total", reason=refused.reason)
            await exchange.refuse(refused)
        except Exception as error:  # its text may name a file or a patient
            self._log(f"modicum: internal error: {type(error).__name__}")
            self._metrics.count("modicum_failures_total", reason="internal")
            if not exchange.status:
                kind = type(error).__name__
                await exchange.refuse(
                    Refused(500, "internal", f"internal error ({kind}); see the server's operator")
                )
        finally:
            shown = path if path in self._paths else "(unknown path)"
            milliseconds = 1000 * (time.perf_counter() - began)
            method = scope["method"] if scope["method"] in _METHODS else "(unknown method)"
            self._log(f"{method} {shown} {exchange.status or '-'} {milliseconds:.0f} ms")


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class _Exchange:
    """One request and its answer: notes the status, adds headers, and reads on before a refusal."""

    def __init__(self, receive: Receive, send: Send, max_drain: int) -> None:
        self._receive, self._send, self._max_drain = receive, send, max_drain
        self._ended = False
        self.status = 0

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] != "http.request" or not message.get("more_body", False):
            self._ended = True
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            if message["status"] >= 400 and not self._ended:
                await self._drain()
            self.status = message["status"]
            message = {**message, "headers": [*message.get("headers", ()), *_HEADERS]}
        await self._send(message)

    async def refuse(self, refused: Refused) -> None:
        """Answers with an error."""
        body = json.dumps({"error": refused.message}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        headers += [(name.lower().encode(), value.encode()) for name, value in refused.headers.items()]
        if refused.status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        await self.send({"type": "http.response.start", "status": refused.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})

    async def _drain(self) -> None:
        """Reads what is left of a body and drops it: a client that is still sending would not see the answer."""
        size = 0
        try:
            async with asyncio.timeout(_DRAIN_SECONDS):
                while not self._ended and size <= self._max_drain:
                    size += len((await self.receive()).get("body", b""))
        except TimeoutError:
            return
