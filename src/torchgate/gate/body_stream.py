"""The body of one request: bounded, timed by its reader, inflated where it is compressed."""

from __future__ import annotations

import re
import zlib

from torchgate.contract.errors import BodyTooLarge, InvalidRequest, Unsupported
from torchgate.gate.http_message import Body, RequestHeaders

INFLATE_STEP_BYTES = 1 << 20
"""Inflated at once: a megabyte takes about a millisecond, so that a bomb can't hold the loop for long."""

_DIGITS = re.compile(rb"[0-9]{1,18}")
_WINDOW_BITS = {b"gzip": 31, b"deflate": 15}  # zlib's: gzip framing, zlib framing (RFC 9110: that is `deflate`)


def announced_length(headers: RequestHeaders, max_body_bytes: int) -> int | None:
    """Bytes of the body as its head announces them, 0 where there is none, None where it comes in chunks.

    Raises:
        InvalidRequest: the head says two things, or none that is a number. BodyTooLarge: more than allowed.
        Unsupported: a transfer coding that nobody here undoes (RFC 9112, section 6.1).
    """
    length = headers.single(b"content-length")
    coding = headers.single(b"transfer-encoding")
    if coding is not None:
        if length is not None:
            raise InvalidRequest("Content-Length and Transfer-Encoding came together; send one of them.")
        if coding.lower() != b"chunked":
            raise Unsupported("Transfer-Encoding must be chunked alone; compress by Content-Encoding.")
        return None
    if length is None:
        return 0
    if not _DIGITS.fullmatch(length):
        raise InvalidRequest("Content-Length is not a number of bytes.")
    if int(length) > max_body_bytes:
        raise BodyTooLarge(f"The body has {int(length)} bytes; at most {max_body_bytes} are allowed.")
    return int(length)


class BodyStream:
    """Reads a body piece by piece, in the lengths that its reader asks for.

    Args:
        body: as it comes.
        encoding: of Content-Encoding, or None.
        max_body_bytes: as sent; max_inflated_bytes: after inflation; max_json_bytes: of the JSON part.

    Raises:
        InvalidRequest: an encoding that is neither gzip nor deflate.
    """

    def __init__(
        self,
        body: Body,
        encoding: bytes | None,
        *,
        max_body_bytes: int,
        max_inflated_bytes: int,
        max_json_bytes: int,
    ) -> None:
        self._body = body
        self._max_body_bytes = max_body_bytes
        self._max_json_bytes = max_json_bytes
        self._inflater = _inflater(encoding, max_inflated_bytes)
        self._pending = b""
        self.received_bytes = 0

    @property
    def is_encoded(self) -> bool:
        """Whether its length says nothing about what is in it."""
        return self._inflater is not None

    async def read_all(self) -> bytes:
        """The rest of it."""
        first = await self._next()
        pieces = [first]
        while piece := await self._next():
            pieces.append(piece)
        return first if len(pieces) == 1 else b"".join(pieces)

    async def read_json(self, length: int | None) -> bytes:
        """The JSON part: the next `length` bytes, or all where that is None.

        Raises:
            BodyTooLarge: it is longer than JSON may be. InvalidRequest: it ends before.
        """
        if length is not None and length > self._max_json_bytes:
            raise self._json_too_large(length)
        if length is not None:
            return await self.read_exactly(length)
        pieces = [await self._next()]
        total = len(pieces[0])
        while total <= self._max_json_bytes and not self._is_over and (piece := await self._next()):
            pieces.append(piece)
            total += len(piece)
        if total > self._max_json_bytes:
            raise self._json_too_large(total)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _json_too_large(self, length: int) -> BodyTooLarge:
        return BodyTooLarge(
            f"The JSON part has {length} bytes or more; at most {self._max_json_bytes} are allowed. "
            "Send large tensors as binary tensor data."
        )

    async def read_exactly(self, length: int) -> bytes:
        """The next `length` bytes.

        Raises:
            InvalidRequest: it ends before.
        """
        pieces: list[bytes] = []
        missing = length
        while missing:
            piece = await self._next()
            if not piece:
                raise InvalidRequest(f"The body ends {missing} bytes before the {length} bytes of its JSON part.")
            if len(piece) > missing:
                self._pending = piece[missing:]
                piece = piece[:missing]
            pieces.append(piece)
            missing -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def read_into(self, view: memoryview) -> None:
        """The next bytes, as many as the view takes, copied once.

        Raises:
            InvalidRequest: it ends before.
        """
        position, length = 0, len(view)
        while position < length:
            piece = await self._next()
            if not piece:
                raise InvalidRequest(f"The body ends {length - position} bytes before its binary tensors do.")
            if len(piece) > length - position:
                self._pending = piece[length - position :]
                piece = piece[: length - position]
            view[position : position + len(piece)] = piece
            position += len(piece)

    async def expect_end(self) -> None:
        """Nothing follows.

        Raises:
            InvalidRequest: something does.
        """
        if not self._is_over and await self._next():
            raise InvalidRequest("The body goes on after the tensors that its JSON part announces.")

    @property
    def _is_over(self) -> bool:
        """Whether nothing more can come, known without asking."""
        return self._body.is_complete and not self._pending and self._inflater is None

    async def _next(self) -> bytes:
        """The next piece, empty at the end."""
        if self._pending:
            piece, self._pending = self._pending, b""
            return piece
        if self._inflater is None:
            return await self._next_raw()
        while True:
            if piece := self._inflater.step():
                return piece
            raw = await self._next_raw()
            if not raw:
                self._inflater.finish()
                return b""
            self._inflater.feed(raw)

    async def _next_raw(self) -> bytes:
        while not self._body.is_complete:
            piece = await self._body.read()
            self.received_bytes += len(piece)
            if self.received_bytes > self._max_body_bytes:
                raise BodyTooLarge(f"The body has more than the {self._max_body_bytes} bytes that are allowed.")
            if piece:
                return piece
        return b""


class _Inflater:
    """Undoes gzip or deflate within a bound."""

    def __init__(self, window_bits: int, max_inflated_bytes: int) -> None:
        self._stream = zlib.decompressobj(window_bits)
        self._waiting = b""
        self._left = max_inflated_bytes
        self._max_inflated_bytes = max_inflated_bytes

    def feed(self, raw: bytes) -> None:
        self._waiting = raw

    def step(self) -> bytes:
        """Some inflated bytes; empty: it needs more input."""
        if not self._waiting:
            return b""
        try:
            inflated = self._stream.decompress(self._waiting, min(INFLATE_STEP_BYTES, self._left + 1))
        except zlib.error:
            raise InvalidRequest("The body is not what its Content-Encoding says: it can't be inflated.") from None
        if self._stream.unused_data:
            raise InvalidRequest("The body goes on after its compressed part ends.")
        self._waiting = self._stream.unconsumed_tail
        self._left -= len(inflated)
        if self._left < 0:
            raise BodyTooLarge(f"The body inflates to more than the {self._max_inflated_bytes} bytes that are allowed.")
        return inflated if inflated or not self._waiting else self.step()

    def finish(self) -> None:
        """The input is over.

        Raises:
            InvalidRequest: in the middle of it.
        """
        if not self._stream.eof:
            raise InvalidRequest("The compressed body ends too early.")


def _inflater(encoding: bytes | None, max_inflated_bytes: int) -> _Inflater | None:
    if encoding is None or encoding.lower() == b"identity":
        return None
    bits = _WINDOW_BITS.get(encoding.lower())
    if bits is None:
        raise InvalidRequest("Content-Encoding must be gzip or deflate, once; or leave it out.")
    return _Inflater(bits, max_inflated_bytes)
