import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from devskyy.supervisor import ports
from schemas.errors import StartError


@contextmanager
def listening(host: str = "127.0.0.1", family: int = socket.AF_INET) -> Iterator[socket.socket]:
    with socket.socket(family) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as every HTTP server does
        server.bind((host, 0))
        server.listen()
        yield server


def port_of(server: socket.socket) -> int:
    return int(server.getsockname()[1])


def test_free_ports_differ_and_can_be_taken() -> None:
    # Given twenty ports that are said to be free
    found = ports.free(20)
    # When each is taken
    # Then each can be, and no two are the same
    assert len(set(found)) == 20
    for port in found:
        with socket.socket() as server:
            server.bind(("127.0.0.1", port))


def test_a_range_is_free_from_end_to_end() -> None:
    # Given a range of ports
    first = ports.free_range(30)
    # When each is looked at
    # Then nobody listens on any
    assert first + 30 <= 65_535
    assert not any(ports.busy(port) for port in range(first, first + 30))


def test_a_machine_without_such_a_range_is_told_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a machine on which every port is held
    monkeypatch.setattr(ports, "busy", lambda port: True)
    # When a range is asked for
    # Then the error says what to do
    with pytest.raises(StartError, match="no 40 free ports in a row") as refused:
        ports.free_range(40)
    assert "end programs" in refused.value.remedy


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_port_is_busy_for_as_long_as_somebody_listens(host: str) -> None:
    # Given a program that listens on loopback, or everywhere
    with listening(host) as server:
        port = port_of(server)
        # When its port is looked at, then and after its end
        during = ports.busy(port)
    # Then it is busy, and free again
    assert (during, ports.busy(port)) == (True, False)


def test_a_connection_that_lingers_does_not_hold_a_port() -> None:
    # Given a server that has closed a connection first, so that the kernel remembers it for a minute
    with listening() as server:
        port = port_of(server)
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
        accepted.close()
        assert client.recv(1) == b""
        client.close()
    # When its port is looked at
    # Then a platform can start there at once
    assert not ports.busy(port)


def test_a_port_of_the_other_protocol_version_is_looked_at_there() -> None:
    # Given a program that listens on the loopback of IPv6 alone
    try:
        listening_there = listening("::1", socket.AF_INET6)
        with listening_there as server:
            port = port_of(server)
            # When its port is looked at there
            during = ports.busy(port, "::1")
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    # Then it is busy, and free again
    assert (during, ports.busy(port, "::1")) == (True, False)
