import socket
from pathlib import Path
from typing import Any

import pytest

from devskyy.cli import doctor as doctor_module
from devskyy.supervisor.state import write_state
from schemas.health import Check, Health
from tests.certificates import Authority
from tests.cli.conftest import Command
from tests.simulators.platform import PlatformSimulator, recorded

SECRET = "sk-very-secret"


@pytest.fixture
def free_port(monkeypatch: pytest.MonkeyPatch) -> int:
    """A port that nobody holds, set as the platform's."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    monkeypatch.setenv("DEVSKYY_HTTP_PORT", str(port))
    return port


@pytest.fixture(autouse=True)
def quick_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading the real libraries takes seconds, and is tried once below."""
    real = doctor_module._imports
    monkeypatch.setattr(doctor_module, "_imports", lambda name, module, remedy: real(name, "json", remedy))


def checks(ran: Any) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in ran.document["checks"]}


def test_a_machine_that_has_everything_is_well(devskyy: Command, free_port: int, home: Path) -> None:
    # Given this machine, and a home of its own
    # When it is examined
    shown, handed = devskyy("doctor"), devskyy("doctor", "--json")
    # Then all that is required is there, and what is not required says what it would take
    assert (shown.code, handed.code) == (0, 0)
    assert handed.document["ok"] is True
    found = checks(handed)
    assert {"Python", "memory", "embedded model", "embedded runtime", "embeddings", "HAProxy"} <= set(found)
    assert {"environment", "nats-server", "home", "disk", "socket paths", "overlay", "HTTP port"} <= set(found)
    assert all(check["ok"] for check in found.values() if check["required"])
    assert "ANTHROPIC_API_KEY" in found["provider keys"]["remedy"]
    assert "all that is required is there" in shown.out
    assert list(home.iterdir()) == []


def test_keys_are_named_and_never_shown(devskyy: Command, free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a provider's key
    monkeypatch.setenv("ANTHROPIC_API_KEY", SECRET)
    # When the machine is examined
    ran = devskyy("doctor", "--json")
    # Then its name is told and its value is not
    assert checks(ran)["provider keys"]["detail"] == "ANTHROPIC_API_KEY"
    assert SECRET not in ran.out + ran.err


def test_a_port_of_somebody_else_is_found(devskyy: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a program that holds the port
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        monkeypatch.setenv("DEVSKYY_HTTP_PORT", str(other.getsockname()[1]))
        # When the machine is examined
        ran = devskyy("doctor", "--json")
    # Then that is what is wrong, and what to do
    assert (ran.code, ran.document["ok"]) == (1, False)
    assert "DEVSKYY_HTTP_PORT" in checks(ran)["HTTP port"]["remedy"]


def test_a_port_of_our_own_platform_is_well_and_so_is_the_platform(
    devskyy: Command, platform: PlatformSimulator, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a platform that runs in this home
    monkeypatch.delenv("DEVSKYY_URL")
    monkeypatch.setenv("DEVSKYY_HTTP_PORT", platform.url.rpartition(":")[2])
    write_state(home, recorded(platform.url))
    # When the machine is examined, and again when the platform is not ready
    well = devskyy("doctor", "--json")
    platform.health = Health(status="not_ready", checks=(Check(name="nats", ok=False, detail="not connected"),))
    ill = devskyy("doctor", "--json")
    # Then the port is its own, and its health is told
    assert (well.code, ill.code) == (0, 1)
    assert "held by this home's platform" in checks(well)["HTTP port"]["detail"]
    assert "nats: not connected" in checks(ill)["platform"]["detail"]
    assert "logs" in checks(ill)["platform"]["remedy"]


def test_a_home_that_others_may_read_is_found(devskyy: Command, free_port: int, home: Path) -> None:
    # Given a home that is open to others
    home.chmod(0o755)
    # When the machine is examined
    ran = devskyy("doctor", "--json")
    # Then the remedy is a command
    assert ran.code == 1
    assert checks(ran)["home"]["remedy"] == f"chmod 700 {home}"


def test_a_home_that_cannot_be_made_is_found(
    devskyy: Command, free_port: int, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a home that would lie inside a file
    (home / "file").touch()
    monkeypatch.setenv("DEVSKYY_HOME", str(home / "file" / "below"))
    # When the machine is examined
    ran = devskyy("doctor", "--json")
    # Then that is found
    assert ran.code == 1
    assert "DEVSKYY_HOME" in checks(ran)["home"]["remedy"]


def test_a_bad_overlay_is_named_with_its_key_and_rule(
    devskyy: Command, free_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an overlay with a mistake
    overlay = tmp_path / "my.yaml"
    overlay.write_text("services: {mine: {model: openai/x, prize: 3}}\n")
    monkeypatch.setenv("DEVSKYY_CONFIG", str(overlay))
    # When the machine is examined
    ran = devskyy("doctor", "--json")
    # Then the file and the key are named
    assert ran.code == 1
    assert str(overlay) in checks(ran)["overlay"]["detail"]
    assert "prize" in checks(ran)["overlay"]["detail"]


def test_an_environment_that_cannot_be_used_is_a_finding_among_others(
    devskyy: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a port that is none
    monkeypatch.setenv("DEVSKYY_HTTP_PORT", "99999")
    # When the machine is examined
    ran = devskyy("doctor", "--json")
    # Then the examination goes as far as it can
    assert ran.code == 1
    assert "DEVSKYY_HTTP_PORT" in checks(ran)["environment"]["remedy"]
    assert checks(ran)["Python"]["ok"]


def test_a_disk_or_memory_that_is_too_small_is_found(
    devskyy: Command, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a platform that wants more than any machine has
    monkeypatch.setattr(doctor_module, "DISK_BYTES", 2**62)
    monkeypatch.setattr(doctor_module, "MEMORY_BYTES", 2**62)
    # When the machine is examined
    ran = devskyy("doctor")
    # Then both are found, each with its remedy
    assert ran.code == 1
    assert "FAILED   disk" in ran.out
    assert "FAILED   memory" in ran.out
    assert ran.out.count("remedy: ") >= 2


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("no_such_module_at_all", "cannot be imported: ModuleNotFoundError"),
        ("os; os.kill(os.getpid(), 4)", "does not run on this processor (signal 4)"),
    ],
)
def test_a_library_that_does_not_load_is_told_from_one_that_takes_its_process_down(
    monkeypatch: pytest.MonkeyPatch, code: str, words: str
) -> None:
    # Given a library that is missing, or made for another processor
    monkeypatch.undo()
    # When it is tried
    finding = doctor_module._imports("embedded runtime", code, "pip install it")
    # Then it is found, and this process lives
    assert not finding.ok
    assert words in finding.detail
    assert finding.remedy == "pip install it"


def test_what_nats_is_reached_by_is_examined(
    devskyy: Command, free_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a certificate for NATS
    served = Authority(tmp_path).issue("localhost")
    monkeypatch.setenv("DEVSKYY_NATS_TLS_CERT", str(served.cert))
    # When its key is not named, and when it is
    without = checks(devskyy("doctor", "--json"))["NATS"]
    monkeypatch.setenv("DEVSKYY_NATS_TLS_KEY", str(served.key))
    whole = checks(devskyy("doctor", "--json"))["NATS"]
    # Then it is said what is missing, and how long the certificate is good for
    assert (without["ok"], without["remedy"]) == (False, "correct DEVSKYY_NATS_TLS_KEY, or unset it")
    assert (whole["ok"], "the certificate ends at" in whole["detail"]) == (True, True)
