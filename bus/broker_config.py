"""The configuration of a nats-server of one's own, and the logins that the platform's parts have there."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bus import urls
from bus.accounts import OUTSIDE, PLATFORM, accounts, first_outsider, outsider, quoted, tls
from bus.logins import Logins
from bus.nats_users import hashed, new_password
from bus.permissions import SUPERVISOR, Permissions
from bus.server import NO_LIMIT
from bus.streams import STORES, store_config, stream_configs
from schemas.nats_user import KeptNatsUser
from schemas.settings import is_loopback

DEFAULT_PORT = 4222


@dataclass(frozen=True)
class Place:
    """Where that server is and what it has, as far as that is known here."""

    servers: Sequence[str]
    """URLs without credentials."""
    store_dir: str
    cert: str
    key: str

    @property
    def secret(self) -> bool:
        return "tls" in urls.schemes(",".join(self.servers))

    @property
    def local(self) -> bool:
        """Whether nobody reaches it but from its own machine."""
        return all(map(is_loopback, urls.hosts(",".join(self.servers))))

    @property
    def host(self) -> str:
        """Where it listens."""
        return "127.0.0.1" if self.local else "0.0.0.0"

    @property
    def port(self) -> int:
        """Of the first one."""
        return urls.ports(self.servers[0])[0] or DEFAULT_PORT


def logins(known: Path, place: Place, users: Iterable[str]) -> Logins:
    """The URL of each user at these servers, with the passwords that the file knows already.

    Raises:
        ConfigError: the file is there and holds something else.
    """
    found = Logins.of_file(known).urls if known.exists() else {}
    where = ",".join(place.servers)
    return Logins(
        {
            user: urls.logged_in(where, user, urls.login(found.get(user, "")).get("password") or new_password())
            for user in (SUPERVISOR, OUTSIDE, *users)
        }
    )


def text(
    place: Place, logins: Logins, users: Mapping[str, Permissions], outsiders: Iterable[KeptNatsUser], budget: int
) -> str:
    """The configuration. Of passwords it holds bcrypt hashes alone.

    Args:
        users: the platform's parts, and what each may do.
        outsiders: clients from outside besides the first one.
        budget: bytes that the streams set aside on the disk of each server.
    """
    hashes = {user: hashed(urls.login(url)["password"]) for user, url in logins.urls.items()}
    let_in = [first_outsider(hashes[OUTSIDE]), *(outsider(user, user.bcrypt) for user in outsiders)]
    secret = tls(place.cert, place.key) if place.secret else "# tls { cert_file: …, key_file: … }"
    return f"""# For a nats-server of your own, 2.12 or newer, by `devskyy nats-config`. It holds hashes of passwords.
# The servers of a cluster have all of it in common but `server_name`. When users were added, reload it twice:
# nats-server 2.15 listens to what an account that is new may ask for only at the second time.
listen: "{place.host}:{place.port}"
server_name: devskyy
{secret}

# What is acknowledged is on the disk. The streams set {set_aside(budget):,} bytes aside (DEVSKYY_STREAM_BYTES).
jetstream {{ store_dir: {quoted(place.store_dir)}, sync_interval: always, max_file_store: {NO_LIMIT} }}

# cluster {{ name: devskyy, listen: "0.0.0.0:6222", routes: [ nats://one:6222, nats://two:6222, nats://three:6222 ] }}

# The streams are in the account `{PLATFORM}`; each client from outside has an account of its own.
accounts {{
{accounts(hashes, users, let_in)}}}
"""


def set_aside(budget: int) -> int:
    """Bytes on the disk of each server."""
    configs = stream_configs(budget)
    stores = [store_config(bucket, configs[-1]) for bucket in STORES]
    return sum(config.max_bytes or 0 for config in (*configs, *stores))
