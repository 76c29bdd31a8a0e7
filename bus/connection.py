"""nats-py's client, with up to two turns of the event loop less between a message and its answer, which nothing that
somebody sends makes deaf."""

import asyncio
import re
from collections.abc import Callable
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.transport import TcpTransport
from nats.protocol import parser

# The server parts a line at spaces and tabs. nats-py does at form feeds and vertical tabs too, which a subject may
# hold: it took such a message for a breach of the protocol, connected anew, and got it again.
_WORD, _GAP = rb"([^ \t\r\n]+)", rb"[ \t]+"
_TO = _WORD + _GAP + _WORD + _GAP + rb"(" + _WORD + _GAP + rb")?"
parser.MSG_RE = re.compile(rb"\AMSG" + _GAP + _TO + rb"(\d+)\r\n")
parser.HMSG_RE = re.compile(rb"\AHMSG" + _GAP + _TO + rb"(\d+)" + _GAP + rb"(\d+)\r\n")


class Connection(Client):  # type: ignore[misc]
    """What is published goes to the socket together at the end of a turn of the event loop, or at once where somebody
    asks for that, and answers are handed over as they are read.

    The library leaves the one to a task of its own, and the other to a task of the subscription: 0.08 ms of the 0.4
    that a message into a stream takes until it is known to be on disk, where it goes out at once. Where the socket is
    behind, the library's way is gone, which holds back whoever writes.
    """

    def __init__(self) -> None:
        super().__init__()
        self._due = False
        self._taken: dict[int, Callable[[Msg], None]] = {}

    async def take(self, subject: str, taken: Callable[[Msg], None]) -> None:
        """Subscribe for good, with a function that does not wait."""
        subscription = await self.subscribe(subject)
        self._taken[subscription._id] = taken

    async def _flush_pending(self, force_flush: bool = False) -> Any:
        if force_flush or not self.is_connected or type(self._transport) is not TcpTransport:
            return await super()._flush_pending(force_flush)
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self.write_out)
        return None

    def write_out(self) -> None:
        """Hand what was published to the socket now, not at the end of this turn of the event loop."""
        self._due = False
        if not self._pending or not self.is_connected or type(self._transport) is not TcpTransport:
            return
        socket = self._transport._io_writer.transport
        if socket.is_closing():
            return  # whoever reads is about to find out; what is pending goes out by the next connection
        if not self._flush_queue.empty():
            return  # the library is about to write it
        if socket.get_write_buffer_size():
            self._flush_queue.put_nowait(asyncio.Future())
            return
        socket.write(b"".join(self._pending))
        self._pending.clear()
        self._pending_data_size = 0

    async def _send_ping(self, future: "asyncio.Future[Any] | None" = None) -> None:
        """The library writes it before what is pending, so that a flush would overtake that."""
        self.write_out()
        await super()._send_ping(future)

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        taken = self._taken.get(sid)
        if taken is None:
            await super()._process_msg(sid, subject, reply, data, headers)
        else:
            taken(self._build_message(sid, subject, reply, data, await self._process_headers(headers)))

    async def _process_pong(self) -> None:
        """Where nobody waits for it any more, the library would fail and read no more."""
        if self._pongs and self._pongs[0].done():
            self._pongs[0] = asyncio.Future()
        await super()._process_pong()

    # The library reads no more, and does not connect anew for half a minute, once a message cannot be decoded.

    async def _process_headers(self, headers: bytes) -> dict[str, str] | None:
        try:
            found: dict[str, str] | None = await super()._process_headers(headers)
        except (ValueError, IndexError):  # the first line is none of NATS
            return self._parse_header_lines(headers.partition(b"\r\n")[2]) or None
        return found

    def _build_message(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> Msg:
        """What is no UTF-8 in a subject is replaced, and the subject then nobody's."""
        return self.msg_class(
            subject=subject.decode(errors="replace"),
            reply=reply.decode(errors="replace"),
            data=data,
            headers=headers,
            _client=self,
            _sid=sid,
        )
