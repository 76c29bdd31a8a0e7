import json
import subprocess
import sys
from typing import Any

import pytest

from devskyy.cli import render
from devskyy.cli.codes import ExitCode, of_error
from devskyy.errors import PlatformNotRunning
from schemas.errors import Cancelled, ConfigError, DevSkyyError, KeyReused, NotFound, StartError, Unavailable
from tests.cli.conftest import Command

HEAVY = {"ray", "litellm", "nats", "sqlalchemy", "fastapi", "httpx", "structlog", "psutil"}


def test_help_answers_without_loading_the_product() -> None:
    # Given a fresh interpreter
    code = "import sys; from devskyy.cli.app import main; main(['--help']); print(*sys.modules)"
    # When help is asked for
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # Then it is there, and nothing that takes its time was loaded
    assert "nats-url" in run.stdout
    assert not HEAVY & set(run.stdout.splitlines()[-1].split())


def test_the_package_runs_as_a_program() -> None:
    # Given the package
    # When it is run as a module
    words = [sys.executable, "-m", "devskyy", "version", "--json"]
    run = subprocess.run(words, capture_output=True, text=True, check=True)
    # Then it is the command line
    assert json.loads(run.stdout)["version"]


def test_the_version_is_told(devskyy: Command) -> None:
    # Given the command line
    # When its version is asked for
    # Then it is told
    assert devskyy("version").out.startswith("devskyy ")


def test_a_mistake_of_our_own_is_a_document_too(devskyy: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a command with a mistake in it
    def mistaken() -> Any:
        raise RuntimeError("never thought of that")

    monkeypatch.setattr("devskyy.client.Client", mistaken)
    # When it is run for a program
    ran = devskyy("agents", "--json")
    # Then stdout is a problem, and stderr tells where it happened
    assert ran.code == 1
    assert ran.document["type"] == "urn:devskyy:problem:internal"
    assert "Traceback" in ran.err


@pytest.mark.parametrize("words", [[], ["tasks"]])
def test_no_command_shows_what_there_is(devskyy: Command, words: list[str]) -> None:
    # Given nothing to do
    # When the command line is asked for it
    ran = devskyy(*words)
    # Then it is a usage error, with help
    assert ran.code == 2
    assert "Usage: devskyy" in ran.out + ran.err


def test_an_unknown_command_is_a_usage_error(devskyy: Command) -> None:
    # Given a command that does not exist
    # When it is run for a person and for a program
    shown, handed = devskyy("fly"), devskyy("fly", "--json")
    # Then both are told
    assert (shown.code, handed.code) == (2, 2)
    assert "fly" in shown.err
    assert "fly" in handed.document["detail"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PlatformNotRunning("http://x"), ExitCode.NOT_RUNNING),
        (Cancelled("this", "Ctrl-C"), ExitCode.CANCELLED),
        (ConfigError("f", "k", "r"), ExitCode.USAGE),
        (NotFound("task", "t"), ExitCode.USAGE),
        (KeyReused("k", "t"), ExitCode.USAGE),
        (StartError("c", "r"), ExitCode.FAILED),
        (Unavailable("later"), ExitCode.FAILED),
        (DevSkyyError("inside"), ExitCode.FAILED),
    ],
)
def test_every_error_has_its_exit_code(error: DevSkyyError, code: ExitCode) -> None:
    # Given an error
    # When it ends a command
    # Then the exit code is the one that scripts rely on
    assert of_error(error) is code


@pytest.mark.parametrize(
    ("usd", "words"),
    [
        (0.0, "$0.00"),
        (12.3456, "$12.35"),
        (0.00243, "$0.00243"),
        (0.0000012345, "$0.00000123"),
        (-0.5, "-$0.500"),
    ],
)
def test_costs_keep_three_digits_that_mean_something(usd: float, words: str) -> None:
    # Given a cost
    # When it is written
    # Then small ones are no zero
    assert render.cost(usd) == words


def test_an_estimated_cost_says_so() -> None:
    # Given a cost that was estimated, and one that is unknown
    # When they are written
    # Then neither passes for exact
    assert render.cost(0.5, estimated=True) == "$0.500 (estimated)"
    assert render.cost(None, "no price") == "unknown (no price)"
