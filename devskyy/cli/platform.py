"""The platform itself: start it, stop it, ask how it is and who is there."""

from collections import Counter
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated

import typer

from devskyy.cli.codes import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from devskyy.supervisor.state import PlatformState
    from schemas.agent import AgentStatus
    from schemas.health import PlatformStatus
    from schemas.settings import Settings

STATUS_TIMEOUT_S = 10.0

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def up(
    detach: Annotated[bool, typer.Option("--detach", help="Return once it is ready, and leave it running.")] = False,
    first_task: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Run this on the embedded model once ready, and show it.")
    ] = None,
) -> None:
    """Start the platform of this home."""
    from devskyy.supervisor.launch import up
    from schemas.settings import Settings

    raise typer.Exit(up(Settings.from_environment(), detach=detach, first_task=first_task))


def down() -> None:
    """Stop all of it, no process left behind."""
    from devskyy.supervisor.launch import down
    from schemas.settings import Settings

    raise typer.Exit(down(Settings.from_environment()))


def status(as_json: AsJson = False) -> None:
    """Whether the platform runs and can work. Exit code 0 when ready, else 4."""
    from devskyy.cli import render
    from devskyy.supervisor.state import read_state
    from schemas.settings import Settings

    settings = Settings.from_environment()
    found = platform_status(settings)
    if as_json:
        render.document(found)
    else:
        up = [_how_many_up(kind, of_kind) for kind, of_kind in _by_kind(found.agents)]
        up += [f"{sum(s.state == 'available' for s in found.services)} of {len(found.services)} services available"]
        ours = _asked_for(read_state(settings.home))
        degraded = "degraded: " if ours is not None and ours.phase == "degraded" else ""
        render.say(f"ready at {found.http}" if found.ready else f"{degraded}{found.reason}")
        if found.http is not None:
            render.say(f"  NATS           {found.nats or 'unknown'}")
            render.say(f"  Ray dashboard  {found.ray_dashboard or 'unknown'}")
            render.say(f"  {', '.join(up)}")
        for check in found.actors:
            render.say(f"  {'ok ' if check.ok else 'NOT'}  {check.name}{f': {check.detail}' if check.detail else ''}")
    raise typer.Exit(ExitCode.DONE if found.ready else ExitCode.NOT_RUNNING)


def agents(as_json: AsJson = False) -> None:
    """Who is there, in what state, and why not."""
    from devskyy.cli import render
    from devskyy.client import Client

    with Client() as client:
        found = client.agents()
    if as_json:
        render.document({"agents": [agent.model_dump(mode="json") for agent in found]})
        return
    rows = [
        (
            a.name,
            a.kind,
            a.role,
            a.state,
            a.serves_now or "nothing",
            "unknown" if a.quality is None else f"{a.quality.overall:.2f} of {a.quality.n:,}",
            ", ".join(a.services),
            a.reason,
        )
        for a in sorted(found, key=lambda agent: (agent.kind, agent.name))
    ]
    render.table(("Agent", "Kind", "Role", "State", "Serves now", "Quality", "Order", "Why"), rows, "no agents")


def nats_url(as_json: AsJson = False) -> None:
    """A NATS URL with the credentials of an outside client, for any language's client."""
    from bus.accounts import ways
    from devskyy.cli import render
    from devskyy.errors import PlatformNotRunning
    from devskyy.supervisor.state import read_state
    from schemas.errors import ConfigError
    from schemas.settings import DEFAULT_TENANT, Settings

    settings = Settings.from_environment()
    state = read_state(settings.home)
    if state is None or not state.alive:
        raise PlatformNotRunning(_http_of(settings), _why_not(state))
    if state.outside_nats_url is None:
        rule = "the platform uses a broker of your own; ask its operator for the credentials of an outside client"
        raise ConfigError("environment", "DEVSKYY_NATS_URL", rule)
    if not as_json:
        render.say(state.outside_nats_url)
        return
    render.document({"url": state.outside_nats_url, "tenant": DEFAULT_TENANT, **ways(DEFAULT_TENANT, "write")})


def asyncapi() -> None:
    """What can be said to a platform over NATS, as an AsyncAPI document. None needs to run."""
    from serve.asyncapi import written

    print(written(), end="")


def version(as_json: AsJson = False) -> None:
    """The version of this program."""
    import devskyy
    from devskyy.cli import render

    if as_json:
        render.document({"version": devskyy.__version__})
    else:
        render.say(f"devskyy {devskyy.__version__}")


def platform_status(settings: "Settings") -> "PlatformStatus":
    """What is recorded of the platform of this home, and what it says itself. Not running is an answer."""
    import os

    from bus import urls
    from devskyy.client import Client
    from devskyy.supervisor.state import read_state
    from schemas.errors import DevSkyyError
    from schemas.health import PlatformStatus

    state = read_state(settings.home)
    alive = state if state is not None and state.alive else None
    stated = os.environ.get("DEVSKYY_URL")
    ours = _asked_for(state)
    recorded = f" ({ours.phase}: {ours.detail})" if ours and ours.detail else ""
    found = PlatformStatus(
        ready=False,
        http=stated or (alive.http if alive else None),
        nats=urls.shown(alive.nats_url) if alive else None,
        ray_dashboard=alive.ray_dashboard if alive else None,
        home=str(settings.home),
    )
    if found.http is None:
        return found.model_copy(update={"reason": f"not running: {_why_not(state)}"})
    try:
        with Client(found.http, timeout_s=STATUS_TIMEOUT_S, retries=0) as client:
            health = client.health()
            found = found.model_copy(update={"actors": health.checks, "ready": health.status == "ready"})
            found = found.model_copy(update={"agents": client.agents(), "services": client.services()})
    except DevSkyyError as error:
        return found.model_copy(update={"ready": False, "reason": str(error).partition("\n")[0] + recorded})
    if ours is not None and ours.phase == "degraded":
        return found.model_copy(update={"ready": False, "reason": ours.detail})
    if not found.ready:
        failing = [f"{check.name}: {check.detail or 'not ok'}" for check in health.checks if not check.ok]
        found = found.model_copy(update={"reason": f"not ready: {'; '.join(failing) or 'no check says why'}{recorded}"})
    return found


def _by_kind(agents: "Iterable[AgentStatus]") -> "Iterator[tuple[str, Iterator[AgentStatus]]]":
    return groupby(sorted(agents, key=attrgetter("kind")), attrgetter("kind"))


def _how_many_up(kind: str, agents: "Iterable[AgentStatus]") -> str:
    states = Counter(agent.state for agent in agents)
    waiting = f", {states['standby']} on standby" if states["standby"] else ""
    return f"{states['up']} of {states.total()} {kind}s up{waiting}"


def _asked_for(state: "PlatformState | None") -> "PlatformState | None":
    """What the supervisor of this home says, if it runs and no other platform is asked for."""
    import os

    alive = state if state is not None and state.alive else None
    return alive if alive is not None and os.environ.get("DEVSKYY_URL") in (None, alive.http) else None


def _why_not(state: "PlatformState | None") -> str:
    if state is None:
        return "none runs in this home"
    return "it ended without being stopped; `devskyy up` cleans up first"


def _http_of(settings: "Settings") -> str:
    return f"http://{settings.http_host}:{settings.http_port}"
