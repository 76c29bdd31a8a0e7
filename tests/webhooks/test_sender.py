"""One attempt, against real servers: what is reached, what is read, what is not."""

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from actors.webhooks.sender import Sender
from schemas.webhook import MAX_WEBHOOKS
from tests.broker import free_port
from tests.certificates import Authority
from tests.webhooks.receiver import Answer, Receiver

PUBLIC = "93.184.216.34"


class Rebinding(AbstractResolver):
    """A name that means something else each time it is asked for, as whoever owns it can have it."""

    def __init__(self, *answers: str) -> None:
        self._answers = list(answers)
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked += 1
        meant = self._answers.pop(0).split(",")
        return [
            ResolveResult(hostname=host, host=each, port=port, family=socket.AF_INET, proto=0, flags=0)
            for each in meant
        ]

    async def close(self) -> None:
        pass


@pytest.fixture
async def sender() -> AsyncIterator[Sender]:
    sender = Sender(timeout_s=0.5)
    yield sender
    await sender.close()


async def test_what_is_sent_arrives_as_it_is(sender: Sender, receiver: Receiver) -> None:
    outcome = await sender.send(receiver.url + "?a=%2Fb", True, {"webhook-id": "msg_1"}, b'{"a": 1}')
    (told,) = receiver.seen
    assert (outcome.status, outcome.reason) == (204, None)
    assert (told.body, told.id, told.headers["content-type"]) == (b'{"a": 1}', "msg_1", "application/json")
    assert told.headers["user-agent"].startswith("DevSkyy-Webhooks/")


async def test_a_redirect_is_not_followed(sender: Sender, receiver: Receiver) -> None:
    receiver.answers.append(Answer(302, {"Location": "/elsewhere"}))
    outcome = await sender.send(receiver.url, True, {}, b"{}")
    assert (outcome.status, outcome.succeeded) == (302, False)
    assert [told.path for told in receiver.seen] == ["/hook"]


async def test_who_does_not_answer_is_not_waited_for(sender: Sender, receiver: Receiver) -> None:
    receiver.answers.append(Answer(hangs=True))
    outcome = await sender.send(receiver.url, True, {}, b"{}")
    assert outcome.reason == "there was no answer within 0.5 s"


async def test_a_body_that_never_ends_is_not_read(sender: Sender, receiver: Receiver) -> None:
    # Given a receiver that pours
    receiver.answers.append(Answer(200, endless=True))
    # When it is told something, Then its status is enough, and it has poured what buffers hold
    outcome = await sender.send(receiver.url, True, {}, b"{}")
    assert outcome.status == 200
    before = receiver.sent_bytes
    assert before < 16 * 1024 * 1024


async def test_a_body_that_nobody_here_could_unpack_changes_nothing(sender: Sender, receiver: Receiver) -> None:
    receiver.answers.append(Answer(200, {"Content-Encoding": "br"}))
    assert (await sender.send(receiver.url, True, {}, b"{}")).succeeded


async def test_names_whose_servers_are_silent_hold_up_no_other(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a system that gets no answer for some names, and goes on asking
    over, ask = threading.Event(), socket.getaddrinfo

    def asked(host: str, *about: Any) -> Any:
        if host.endswith(".silent.example"):
            over.wait()
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return ask("127.0.0.1", *about)

    monkeypatch.setattr(socket, "getaddrinfo", asked)
    sender = Sender(timeout_s=2.0)
    # When more are told at such names than one tenant may have webhooks, and then one whose name is known
    silent = [sender.send(f"https://{number}.silent.example", True, {}, b"{}") for number in range(4 * MAX_WEBHOOKS)]
    waiting = [asyncio.create_task(each) for each in silent]
    try:
        await asyncio.sleep(0)  # they ask first
        outcome = await sender.send(receiver.url.replace("127.0.0.1", "known.example"), True, {}, b"{}")
        # Then that is told
        assert outcome.succeeded
    finally:
        over.set()
        await asyncio.gather(*waiting)
        await sender.close()


async def test_what_a_busy_receiver_asks_for_is_told(sender: Sender, receiver: Receiver) -> None:
    receiver.answers.append(Answer(429, {"Retry-After": "7"}))
    assert (await sender.send(receiver.url, True, {}, b"{}")).retry_after_s == 7.0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "[::ffff:127.0.0.1]"])
async def test_nobody_on_this_machine_is_reached_who_must_not_be(sender: Sender, receiver: Receiver, host: str) -> None:
    outcome = await sender.send(f"https://{host}:{receiver.port}/hook", False, {}, b"{}")
    assert outcome.status is None
    assert outcome.reason is not None
    assert receiver.seen == []
    if host in ("127.0.0.1", "localhost"):
        assert "is a private address" in outcome.reason


async def test_http_is_not_for_those_who_may_not_be_told_privately(sender: Sender, receiver: Receiver) -> None:
    outcome = await sender.send(receiver.url, False, {}, b"{}")
    assert "no https" in str(outcome.reason)
    assert receiver.seen == []


async def test_a_name_that_means_another_address_by_now_reaches_nobody(receiver: Receiver) -> None:
    # Given a name that was public when it was looked at, and means this machine when it is told something
    names = Rebinding("127.0.0.1", "127.0.0.1")
    sender = Sender(names)
    # When it is told, Then nobody is reached, and the address that is connected to was the one looked at
    outcome = await sender.send(f"https://hooks.example:{receiver.port}/", False, {}, b"{}")
    # And whoever named it does not learn what it means
    assert str(outcome.reason).startswith("where it leads is a private address")
    assert names.asked == 1
    assert receiver.seen == []


async def test_of_a_names_addresses_the_forbidden_ones_are_left_out(receiver: Receiver) -> None:
    # Given a name with a public address, and a private one where somebody listens
    sender = Sender(Rebinding(f"{PUBLIC},127.0.0.1"))
    # When http, which is for private addresses, is told there
    outcome = await sender.send(f"http://hooks.example:{receiver.port}/hook", True, {}, b"{}")
    # Then the public one was not called
    assert outcome.status == 204


async def test_http_to_a_public_address_is_refused() -> None:
    outcome = await Sender(Rebinding(PUBLIC)).send("http://hooks.example/", True, {}, b"{}")
    assert "use https" in str(outcome.reason)


async def test_each_attempt_asks_for_the_name_again(receiver: Receiver) -> None:
    names = Rebinding("127.0.0.1", "127.0.0.1")
    sender = Sender(names)
    for _ in range(2):
        assert (await sender.send(f"http://hooks.example:{receiver.port}/", True, {}, b"{}")).status == 204
    assert names.asked == 2


async def test_where_nobody_listens_and_where_no_http_is_spoken_it_says_so(sender: Sender) -> None:
    assert "no connection" in str((await sender.send(f"http://127.0.0.1:{free_port()}/", True, {}, b"{}")).reason)
    for said, why in ((b"nonsense\r\n\r\n", "no HTTP"), (b"", "closed before")):

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, said: bytes = said) -> None:
            await reader.readuntil(b"{}")
            writer.write(said)
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            assert why in str((await sender.send(f"http://127.0.0.1:{port}/", True, {}, b"{}")).reason)


async def test_a_server_without_tls_is_not_told_over_https(sender: Sender, receiver: Receiver) -> None:
    outcome = await sender.send(receiver.url.replace("http:", "https:"), True, {}, b"{}")
    assert "TLS" in str(outcome.reason)
    assert receiver.seen == []


@pytest.mark.parametrize(
    ("issued", "trusted", "reason"),
    [
        ("hooks.example", True, None),
        ("others.example", True, "certificate is not accepted"),
        ("hooks.example", False, "certificate is not accepted"),
    ],
)
async def test_over_https_whoever_answers_must_be_who_was_meant(
    tmp_path: Path, issued: str, trusted: bool, reason: str | None
) -> None:
    # Given a name that leads here, and a certificate for it or for another, of an authority that is trusted or not
    authority = Authority(tmp_path)
    trust = ssl.create_default_context(cafile=authority.ca) if trusted else None
    sender = Sender(Rebinding("127.0.0.1"), trust=trust)
    async with Receiver(authority.issue(issued)) as receiver:
        # When it is told something
        outcome = await sender.send(f"https://hooks.example:{receiver.port}/", True, {}, b"{}")
        # Then it is told only where the certificate is the name's own
        assert (outcome.succeeded, len(receiver.seen)) == (reason is None, 1 if reason is None else 0)
        assert reason is None or reason in str(outcome.reason)
