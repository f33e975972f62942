"""The usual answer, a 200 with a body that is all here: its head is made once, and both leave in one piece."""

from __future__ import annotations

from collections.abc import Mapping
from time import time

from aiohttp.helpers import rfc822_formatted_time

from micro.api import answers, web

_ORIGIN = "Access-Control-Allow-Origin"
_KEPT = 64  # heads


class Whole(web.StreamResponse):
    """Bytes that are an answer already; to be sent once."""

    def __init__(self, data: bytes) -> None:
        # not the base's: it prepares for headers that might still change
        self._data = data

    async def prepare(self, request: web.BaseRequest) -> None:
        self._keep_alive = request.keep_alive
        self._req = request

    async def write_eof(self, data: bytes = b"") -> None:
        request, self._req = self._req, None
        if request is not None:
            await request.writer.write_eof(self._data)
            self._eof_sent = True


class Heads:
    """The heads of a gateway's answers, by who may read them and what they are."""

    def __init__(self) -> None:
        self._heads: dict[tuple[str, str], bytes] = {}
        self._date = b""
        self._second = 0

    def answer(
        self, request: web.BaseRequest, headers: Mapping[str, str], body: bytes, content_type: str
    ) -> web.StreamResponse:
        """Give a body with its type. `headers` differ in the origin that they name, or not at all."""
        if not body or request.version != web.HttpVersion11 or request.method == "HEAD" or not request.keep_alive:
            return answers.answer(headers, body, content_type)
        key = headers[_ORIGIN], content_type
        head = self._heads.get(key) or self._make(headers, key)
        now = int(time())
        if now != self._second:
            self._second, self._date = now, rfc822_formatted_time().encode()
        return Whole(b"%bContent-Length: %d\r\nDate: %b\r\n\r\n%b" % (head, len(body), self._date, body))

    def _make(self, headers: Mapping[str, str], key: tuple[str, str]) -> bytes:
        lines = {**headers, "Server": "micro", "Content-Type": key[1]}
        text = "HTTP/1.1 200 OK\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        if len(self._heads) >= _KEPT:
            self._heads.clear()
        head = self._heads[key] = text.encode("ascii")
        return head
