"""What gRPC's peers send and nghttp2 refuses, rewritten in their requests before it sees them.

Gateways written in Go pass on the HTTP request's `content-length`, which is not the message's, and calls of odd
endpoints have paths without a slash; both would be reset unseen. A header block is a chain of fields, most of them
references into tables that both ends keep. A literal can be exchanged for one of equal length without either end's
table noticing: `content-length` becomes `content_length`, an odd path one that stands for it; `ServerLink` turns both
back. Clients of ours say in their settings that they send no such thing, and are not looked at.
"""

from __future__ import annotations

import time

_HEADERS, _CONTINUATION = 0x1, 0x9
_END_HEADERS, _PADDED, _PRIORITY = 0x4, 0x8, 0x20
_FRAME_HEAD = 9  # bytes
_MAX_FRAME = 16_384  # bytes; what we allow, nghttp2 refuses more
_PATH_INDEXES = frozenset({4, 5})  # of the static table, RFC 7541 appendix A
_STATIC = {28: b"content-length", 57: b"transfer-encoding"}
_TWINS = {
    b"content-length": b"content_length", b"transfer-encoding": b"transfer_encoding", b"keep-alive": b"keep_alive",
    b"proxy-connection": b"proxy_connection", b"connection": b"connectio_", b"upgrade": b"upgrad_",
}  # fmt: skip
_ORIGINALS = {twin: name for name, twin in _TWINS.items()}
_MAX_ODD_PATH = 256  # bytes on the wire; longer ones nghttp2 may refuse
_MAX_ODD_PATHS = 64  # of one connection
# The lengths in bits of the codes of RFC 7541 appendix B, which is canonical: they give the codes. The last is the end.
_CODE_LENGTHS = bytes.fromhex(
    "0d171c1c1c1c1c1c1c181e1c1c1e1c1c1c1c1c1c1c1c1e1c1c1c1c1c1c1c1c1c060a0a0c0d06080b0a0a080b080606060505050606060606"
    "060607080f060c0a0d06070707070707070707070707070707070707070707070807080d130d0e060f050605060506060605070706060605"
    "06070605050607070707070f0b0e0d1c141614141616161716171717171718171818161718171717171516171617171816151416161717151716"
    "161817161517171516151716171714161616171616171a1a1413161716191a1a1a1b1b1a181913151a1b1b1a1b1815151a1a1c1b1b1b1418"
    "1415161515171616191918181a171a1b1a1a1b1b1b1b1b1c1b1b1b1b1b1a1e"
)


def _codes() -> dict[tuple[int, int], int]:
    """Give the symbols by length and value of their codes."""
    found: dict[tuple[int, int], int] = {}
    code = bits = 0
    for length, symbol in sorted((length, symbol) for symbol, length in enumerate(_CODE_LENGTHS)):
        code <<= length - bits
        bits = length
        found[bits, code] = symbol
        code += 1
    return found


_SYMBOLS: dict[tuple[int, int], int] = {}


def prepare() -> None:
    """Make the table that unpacking needs; for a process that will be forked. Idempotent."""
    if not _SYMBOLS:
        _SYMBOLS.update(_codes())


def unpack(packed: bytes) -> bytes:
    """Read a Huffman-coded string."""
    prepare()
    found = bytearray()
    bits = code = 0
    for byte in packed:
        for shift in range(7, -1, -1):
            code = code << 1 | (byte >> shift & 1)
            bits += 1
            symbol = _SYMBOLS.get((bits, code))
            if symbol is not None and symbol < 256:
                found.append(symbol)
                bits = code = 0
    return bytes(found)


class Scrubber:
    """What comes on one connection, from its preface on. Looks at frames' heads, and into whole header blocks."""

    __slots__ = ("_open", "_skip", "odd", "renamed", "rest", "since")

    def __init__(self, skip: int) -> None:
        self._skip = skip  # bytes until the next frame begins
        self._open = False  # more of a header block must follow
        self.rest = b""  # of a frame whose head, or whose header block, is not whole
        self.since = 0.0  # when the header block or the frame's head that is not whole began; 0 when there is none
        self.odd: dict[bytes, bytes] = {}  # odd paths by those that stand for them
        self.renamed = False  # some header was

    def feed(self, data: bytes) -> bytes:
        """Give what nghttp2 may see of all that came so far."""
        if self.rest:
            data = self.rest + data
            self.rest = b""
        position, size, start = self._skip, len(data), 0
        out: list[bytes] = []
        while position + _FRAME_HEAD <= size:
            length = int.from_bytes(data[position : position + 3], "big")
            after = position + _FRAME_HEAD + length
            kind = data[position + 3]
            if kind == _HEADERS and length <= _MAX_FRAME:
                if after > size:
                    break
                if data[position + 4] & _END_HEADERS:
                    frame = self._frame(data[position:after])
                    if frame is not None:
                        out += (data[start:position], frame)
                        start = after
                else:
                    self._open = True
            elif kind == _CONTINUATION and data[position + 4] & _END_HEADERS:
                self._open = False
            position = after
        if position >= size:
            self._skip = position - size
        else:
            self._skip = 0
            self.rest = data[position:]
            size = position
        if self.rest or self._open:
            self.since = self.since or time.monotonic()
        else:
            self.since = 0.0
        if not out:
            return data if size == len(data) else data[:size]
        out.append(data[start:size])
        return b"".join(out)

    def _frame(self, frame: bytes) -> bytes | None:
        """Give a HEADERS frame as it should have been, None when it is."""
        start, end = _FRAME_HEAD, len(frame)
        flags = frame[4]
        try:
            if flags & _PADDED:
                end -= frame[start]
                start += 1
            if flags & _PRIORITY:
                start += 5
            block = self._block(frame[start:end])
        except (IndexError, ValueError):  # nghttp2 will say what is wrong with it
            return None
        if block is None:
            return None
        kept = frame[_FRAME_HEAD + 1 : start] if flags & _PADDED else frame[_FRAME_HEAD:start]
        body = kept + block
        return len(body).to_bytes(3, "big") + bytes((_HEADERS, flags & ~_PADDED)) + frame[5:9] + body

    def _block(self, block: bytes) -> bytes | None:
        """Give a header block without what nghttp2 refuses, None when there is nothing of the kind."""
        out = b""
        start = position = 0
        size = len(block)
        while position < size:
            first = block[position]
            if first & 0x80:
                position = position + 1 if first != 0xFF else _integer(block, position, 7)[1]
                continue
            if first & 0xE0 == 0x20:
                position = _integer(block, position, 5)[1]
                continue
            field = position
            index, position = _integer(block, position, 6 if first & 0x40 else 4)
            name = b""
            if not index:
                name, position = _string(block, position)
            value_at = position
            length, position = _integer(block, position, 7)
            position += length
            if position > size:
                raise ValueError
            new = self._field(first & (0x40 if first & 0x40 else 0x10), index, name, block[value_at:position])
            if new:
                out += block[start:field] + new
                start = position
        return out + block[start:] if start else None

    def _field(self, kind: int, index: int, name: bytes, coded: bytes) -> bytes:
        """Give the literal to exchange a literal for, empty when it is well as it is."""
        if index in _PATH_INDEXES or name == b":path":
            return self._path(kind, coded)
        twin = _TWINS.get(_STATIC.get(index, b"") if index else name)
        if twin is None:
            return b""
        self.renamed = True
        return bytes((kind, len(twin))) + twin + coded

    def _path(self, kind: int, coded: bytes) -> bytes:
        if coded[0] < 0x7F and coded[1:2] == b"/":
            return b""
        if 0x80 < coded[0] < 0xFF and coded[1] & 0xFC == 0x60:  # the code of a slash
            return b""
        value, _ = _string(coded, 0)
        if not value or value[0] == 0x2F or len(coded) > _MAX_ODD_PATH or len(value) > 126:
            return b""
        stand_in = self._stand_in(value)
        return bytes((kind | 4, len(stand_in))) + stand_in if stand_in else b""

    def _stand_in(self, path: bytes) -> bytes:
        """Give a path of the same length that nghttp2 takes and no client sends: it has bytes that no path may have."""
        for known, odd in self.odd.items():
            if odd == path:
                return known
        if len(self.odd) >= _MAX_ODD_PATHS:
            return b""
        number = bytes((0x80 + len(self.odd),)) if len(path) > 1 else b""
        stand_in = b"/" + number + b"\x80" * (len(path) - 2)
        if stand_in in self.odd:  # the only one of length one
            return b""
        self.odd[stand_in] = path
        return stand_in

    def restore(self, headers: tuple[tuple[bytes, bytes], ...]) -> tuple[tuple[bytes, bytes], ...]:
        """Give headers as they came."""
        return tuple(
            (_ORIGINALS.get(name, name), self.odd.get(value, value) if name == b":path" else value)
            for name, value in headers
        )


def _integer(data: bytes, position: int, prefix: int) -> tuple[int, int]:
    """Read an integer of RFC 7541, 5.1; gives it and the position behind it."""
    most = (1 << prefix) - 1
    value = data[position] & most
    position += 1
    if value < most:
        return value, position
    shift = 0
    while True:
        byte = data[position]
        position += 1
        value += (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return value, position
        if shift > 28:
            raise ValueError


def _string(data: bytes, position: int) -> tuple[bytes, int]:
    """Read a string; one that is too long to matter here comes as it is."""
    packed = data[position] & 0x80
    length, position = _integer(data, position, 7)
    after = position + length
    if after > len(data):
        raise ValueError
    found = data[position:after]
    return (_unpacked(found) if packed else found), after


def _unpacked(packed: bytes) -> bytes:
    known = _NAMES.get(packed)
    if known is None:
        if len(packed) > _MAX_ODD_PATH:
            return packed
        known = unpack(packed)
        if len(_NAMES) < _MAX_NAMES:
            _NAMES[packed] = known
    return known


_MAX_NAMES = 1024
_NAMES: dict[bytes, bytes] = {}  # names and paths unpacked before
