"""`devskyy nats-config`: what a nats-server of one's own is to be told, and a file with a login for each part."""

from pathlib import Path
from typing import Annotated

import typer

from schemas.errors import InvalidRequest


def nats_config(
    logins: Annotated[
        Path,
        typer.Argument(help="Where the passwords are kept, with mode 0600: for DEVSKYY_NATS_LOGINS. Those in it stay."),
    ],
    server: Annotated[
        list[str],
        typer.Option(
            metavar="URL", help="Where the platform reaches it, tls:// or nats://; of a cluster one for each."
        ),
    ],
    store_dir: Annotated[str, typer.Option(help="Where it keeps its streams.")] = "/var/lib/nats",
    tls_cert: Annotated[str, typer.Option(help="Its certificate, on its machine.")] = "/etc/nats/cert.pem",
    tls_key: Annotated[str, typer.Option(help="The key of that.")] = "/etc/nats/key.pem",
) -> None:
    """Print the configuration of a nats-server of your own, with a user for each part of the platform and each client
    from outside, as the embedded one has them. It holds no password, but hashes of them."""
    from actors.catalogue import load
    from bus import broker_config, permissions
    from bus.broker_config import Place
    from bus.files import write_private
    from bus.nats_users import NatsUsers
    from devskyy.cli import render
    from schemas.settings import Settings

    settings = Settings.from_environment()
    place = Place(_checked(server), store_dir, tls_cert, tls_key)
    catalogue = load(settings.config)
    users = permissions.table(permissions.users(catalogue.carriers, catalogue.specialists))
    made = broker_config.logins(logins, place, users)
    config = broker_config.text(place, made, users, NatsUsers(settings.home).valid(), settings.stream_bytes)
    try:
        write_private(logins.expanduser().absolute(), made.dump())
    except OSError as error:
        raise InvalidRequest("LOGINS", f"{logins} cannot be written ({error.strerror})") from None
    print(config, end="")
    if not place.secret and not place.local:
        render.err().print("caution: with nats:// passwords and tasks can be read on the way; with tls:// they cannot")
    render.err().print(
        f"The logins are in {logins}. Give your nats-server what is printed, then start the platform with\n"
        f"DEVSKYY_NATS_LOGINS={logins.expanduser().absolute()}",
        soft_wrap=True,
    )


def _checked(servers: list[str]) -> list[str]:
    from bus import urls

    found = [each for server in servers for each in urls.servers(server)]
    for each in found:
        try:
            ((scheme,), (host,), _) = urls.schemes(each), urls.hosts(each), urls.ports(each)
        except ValueError as error:
            raise InvalidRequest("--server", f"{each!r} is no URL: {error}") from None
        if scheme not in ("nats", "tls") or not host or urls.login(each):
            raise InvalidRequest("--server", f"{each!r}: write tls://host:port or nats://host:port, without a password")
    if not found:
        raise InvalidRequest("--server", "names no server")
    return found
