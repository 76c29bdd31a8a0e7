import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from devskyy.supervisor.state import write_state
from schemas.agent import AgentStatus
from schemas.errors import StartError
from schemas.health import Check, Health, PlatformStatus
from schemas.settings import Settings
from tests.cli.conftest import Command
from tests.simulators.platform import PlatformSimulator, Refusal, recorded


def test_no_platform_is_told_as_not_running(devskyy: Command) -> None:
    # Given a home without a platform
    # When its status is asked for
    shown, handed = devskyy("status"), devskyy("status", "--json")
    # Then it is a whole status that says no
    assert (shown.code, handed.code) == (4, 4)
    assert "none runs in this home" in shown.out
    status = PlatformStatus.model_validate(handed.document)
    assert (status.ready, status.http, status.agents) == (False, None, ())


def test_a_platform_that_died_is_told_as_such(devskyy: Command, home: Path) -> None:
    # Given the record of a platform whose process is gone
    write_state(home, recorded("http://127.0.0.1:9", pid_started=1.0))
    # When its status is asked for
    ran = devskyy("status", "--json")
    # Then it does not pass for one that runs
    assert ran.code == 4
    assert "ended without being stopped" in ran.document["reason"]


def test_status_tells_all_of_a_running_platform_but_its_secrets(
    devskyy: Command, platform: PlatformSimulator, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a platform that runs in this home
    monkeypatch.delenv("DEVSKYY_URL")
    write_state(home, recorded(platform.url))
    # When its status is asked for
    shown, handed = devskyy("status"), devskyy("status", "--json")
    # Then everything is there, and no password is
    assert (shown.code, handed.code) == (0, 0)
    assert f"ready at {platform.url}" in shown.out
    assert "1 of 2 agents up, 1 of 2 services available" in " ".join(shown.out.split())
    assert handed.document["http"] == platform.url
    assert handed.document["nats"] == "nats://127.0.0.1:4222"
    assert handed.document["ray_dashboard"] == "http://127.0.0.1:8265"
    assert [agent["name"] for agent in handed.document["agents"]] == ["writing", "code"]
    assert "hidden" not in shown.out + handed.out


def test_specialists_that_nobody_needed_yet_are_told_as_waiting_and_not_as_up(
    devskyy: Command, platform: PlatformSimulator
) -> None:
    # Given a platform with specialists whose hosts are not started
    waits = AgentStatus(
        name="copy-editor", kind="specialist", role="Copy editor", state="standby", reason="starts when it is needed"
    )
    platform.agents = (*platform.agents, waits, waits.model_copy(update={"name": "fact-checker"}))
    # When status and agents are shown
    status, agents = devskyy("status"), devskyy("agents")
    # Then they are counted and listed for themselves
    assert "1 of 2 agents up, 0 of 2 specialists up, 2 on standby" in " ".join(status.out.split())
    assert "starts when it is needed" in agents.out
    assert [a["kind"] for a in devskyy("agents", "--json").document["agents"]] == 2 * ["agent"] + 2 * ["specialist"]


def test_status_of_a_platform_that_is_not_ready_names_what_is_missing(
    devskyy: Command, platform: PlatformSimulator
) -> None:
    # Given a platform without its bus
    platform.health = Health(status="not_ready", checks=(Check(name="nats", ok=False, detail="not connected"),))
    # When its status is asked for
    ran = devskyy("status", "--json")
    # Then it is not ready, and why
    assert ran.code == 4
    assert ran.document["reason"] == "not ready: nats: not connected"


def test_status_of_a_platform_that_starts_tells_what_it_waits_for(devskyy: Command, home: Path) -> None:
    # Given a platform whose door is not open yet
    write_state(home, recorded("http://127.0.0.1:9", phase="starting", detail="serve"))
    # When its status is asked for
    ran = devskyy("status", "--json")
    # Then it is running and not ready
    assert ran.code == 4
    assert ran.document["http"] == "http://127.0.0.1:9"
    assert "(starting: serve)" in ran.document["reason"]


def test_status_of_a_platform_that_answers_and_is_degraded_says_why(
    devskyy: Command, platform: PlatformSimulator, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a platform that answers, and whose supervisor has written down that it cannot work
    monkeypatch.delenv("DEVSKYY_URL")
    write_state(home, recorded(platform.url, phase="degraded", detail="the disk is full: free some space"))
    # When its status is asked for
    shown, handed = devskyy("status"), devskyy("status", "--json")
    # Then it is not ready, for that reason, and the rest is there
    assert (shown.code, handed.code) == (4, 4)
    assert "degraded: the disk is full: free some space" in shown.out
    assert "ready at" not in shown.out
    assert (handed.document["ready"], handed.document["reason"]) == (False, "the disk is full: free some space")
    assert len(handed.document["agents"]) == 2


def test_agents_and_services_are_listed_with_their_reasons(devskyy: Command, platform: PlatformSimulator) -> None:
    # Given a platform
    # When its agents and services are listed
    agents, services = devskyy("agents"), devskyy("services")
    # Then each has a state, and why
    assert (agents.code, services.code) == (0, 0)
    assert "no service of its order is available" in agents.out
    assert "no key: set GROQ_API_KEY" in services.out
    assert "unknown (not in the table)" in services.out
    # And as JSON they are what the platform said
    assert [a["state"] for a in devskyy("agents", "--json").document["agents"]] == ["up", "degraded"]
    assert [s["name"] for s in devskyy("services", "--json").document["services"]] == ["local", "groq"]


def test_a_refusal_of_the_platform_is_a_failure(devskyy: Command, platform: PlatformSimulator) -> None:
    # Given a platform that fails inside
    platform.refuse(Refusal(500), times=1)
    # When its agents are listed
    ran = devskyy("agents", "--json")
    # Then its problem is the document
    assert (ran.code, ran.document["status"]) == (1, 500)


# The broker


def test_the_nats_url_comes_with_credentials_and_subjects(devskyy: Command, home: Path) -> None:
    # Given a platform that runs in this home
    write_state(home, recorded("http://127.0.0.1:9"))
    # When an outside client asks for the way in
    shown, handed = devskyy("nats-url"), devskyy("nats-url", "--json")
    # Then it has all it needs
    assert (shown.code, handed.code) == (0, 0)
    assert shown.out == "nats://outside:given@127.0.0.1:4222\n"
    assert handed.document == {
        "url": "nats://outside:given@127.0.0.1:4222",
        "tenant": "default",
        "submit": "devskyy.v1.submit.default",
        "events": "devskyy.v1.tasks.default.>",
        "tokens": "devskyy.v1.tokens.default.*",
        "workflows": "devskyy.v1.workflows.default.>",
        "commands": "devskyy.v1.commands.default.*",
        "wakes": "devskyy.v1.wakes.default.*",
    }


def test_there_is_no_nats_url_without_a_platform(devskyy: Command) -> None:
    # Given a home without a platform
    # When the way in is asked for
    shown, handed = devskyy("nats-url"), devskyy("nats-url", "--json")
    # Then the remedy is named
    assert (shown.code, handed.code) == (4, 4)
    assert "devskyy up" in shown.err
    assert handed.document["type"] == "urn:devskyy:problem:not-running"


def test_a_broker_of_the_users_own_hands_out_its_own_credentials(devskyy: Command, home: Path) -> None:
    # Given a platform on a broker that it did not start
    write_state(home, recorded("http://127.0.0.1:9", outside_nats_url=None))
    # When the way in is asked for
    ran = devskyy("nats-url")
    # Then it is explained why there is none
    assert ran.code == 2
    assert "ask its operator" in ran.err


# Start and stop


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the commands hand to the launcher; set `raises` to have it fail."""
    told: dict[str, Any] = {}
    launch = ModuleType("devskyy.supervisor.launch")

    def up(settings: Settings, *, detach: bool, first_task: str | None) -> int:
        told.update(home=settings.home, detach=detach, first_task=first_task)
        if "raises" in told:
            raise told["raises"]
        return 0

    def down(settings: Settings) -> int:
        told.update(home=settings.home, down=True)
        return 4

    vars(launch).update(up=up, down=down)
    monkeypatch.setitem(sys.modules, launch.__name__, launch)
    return told


def test_up_and_down_are_handed_to_the_launcher(devskyy: Command, home: Path, launched: dict[str, Any]) -> None:
    # Given a launcher
    # When the platform is started and stopped
    up, down = devskyy("up", "--detach", "--first-task", "hello"), devskyy("down")
    # Then it was told how, and its word is the exit code
    assert (up.code, down.code) == (0, 4)
    assert launched == {"home": home, "detach": True, "first_task": "hello", "down": True}


def test_a_platform_that_cannot_start_says_why_and_what_helps(devskyy: Command, launched: dict[str, Any]) -> None:
    # Given a machine on which it cannot start
    launched["raises"] = StartError("port 8000 is taken", "set DEVSKYY_HTTP_PORT to a free port")
    # When it is started
    ran = devskyy("up")
    # Then cause and remedy are there
    assert ran.code == 1
    assert "port 8000 is taken" in ran.err
    assert "remedy: set DEVSKYY_HTTP_PORT" in ran.err


def test_an_environment_that_cannot_be_used_is_a_usage_error(
    devskyy: Command, launched: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a port that is none
    monkeypatch.setenv("DEVSKYY_HTTP_PORT", "99999")
    # When the platform is started
    ran = devskyy("up")
    # Then the variable is named, and nothing was started
    assert ran.code == 2
    assert "DEVSKYY_HTTP_PORT" in ran.err
    assert launched == {}
