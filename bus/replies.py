"""What is waited for: the answer to a request, and JetStream's word on a message."""

import asyncio

from nats.aio.msg import Msg

SILENCE_S = 4.0
"""After this long without a word the responder is taken for dead."""
H_STATUS, WORKING = "Devskyy-Status", "working"


class Reply:
    """The answer to one request: None once its time is over, or its responder has been silent for too long.

    One timer looks from time to time; moving it with each heartbeat, or `asyncio.wait` with a timeout, costs more.
    """

    __slots__ = ("_heard_at", "_loop", "_timer", "answer", "deadline")

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout_s: float) -> None:
        self.answer: asyncio.Future[Msg | None] = loop.create_future()
        self._loop, self._heard_at = loop, loop.time()
        self.deadline = self._heard_at + timeout_s
        self._timer = loop.call_later(min(timeout_s, SILENCE_S), self._look)

    def _look(self) -> None:
        left_s = min(self.deadline, self._heard_at + SILENCE_S) - self._loop.time()
        if left_s > 0:
            self._timer = self._loop.call_later(left_s, self._look)
        elif not self.answer.done():
            self.answer.set_result(None)

    def put_nowait(self, msg: Msg) -> None:
        if (msg.headers or {}).get(H_STATUS) == WORKING:
            self._heard_at = self._loop.time()
        elif not self.answer.done():
            self.answer.set_result(msg)

    def close(self) -> None:
        self._timer.cancel()


class Ack:
    """JetStream's word on one message: a TimeoutError once its time is over."""

    __slots__ = ("_timer", "answer")

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout_s: float) -> None:
        self.answer: asyncio.Future[Msg] = loop.create_future()
        self._timer = loop.call_later(timeout_s, self._expire)

    def _expire(self) -> None:
        if not self.answer.done():
            self.answer.set_exception(TimeoutError())

    def put_nowait(self, msg: Msg) -> None:
        if not self.answer.done():
            self.answer.set_result(msg)

    def close(self) -> None:
        self._timer.cancel()
