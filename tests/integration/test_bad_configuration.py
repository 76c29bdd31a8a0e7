"""A configuration that cannot be used: `doctor` and `up` name file, key and rule, and nothing is started."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.live import LivePlatform

FINE: dict[str, Any] = {"model": "openai/anything", "api_base": "http://127.0.0.1:9/v1", "api_key_env": "none"}

MISTAKES: dict[str, tuple[dict[str, Any], str, str]] = {
    "a model that is no model string": (
        {"services": {"mine": {**FINE, "model": "just-a-name"}}},
        "services.mine.model",
        "provider/model",
    ),
    "a negative price": (
        {"services": {"mine": {**FINE, "price": {"input_per_mtok": -1, "output_per_mtok": 1}}}},
        "services.mine.price.input_per_mtok",
        "greater than or equal to 0",
    ),
    "services that need each other": (
        {"services": {"one": {**FINE, "depends_on": ["two"]}, "two": {**FINE, "depends_on": ["one"]}}},
        "services.one.depends_on",
        "needs itself: one -> two -> one",
    ),
    "a budget of an unknown service": (
        {"budgets": {"services": {"groqq": {"usd": 1}}}},
        "budgets.services.groqq",
        "did you mean 'groq'?",
    ),
    "an agent with an unknown service": (
        {"agents": {"mine": {"role": "r", "prompt": "p", "services": ["grok2"]}}},
        "agents.mine.services.0",
        "did you mean 'grok'?",
    ),
    "a key in place of its variable's name": (
        {"services": {"mine": {**FINE, "api_key_env": "sk-abcdefghijklmnopqrstuvwx"}}},
        "services.mine.api_key_env",
        "never the key itself",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_doctor_names_what_is_wrong_in_an_overlay_and_the_remedy(mistake: str, home: Path) -> None:
    # Given an overlay with a mistake
    config, key, rule = MISTAKES[mistake]
    live = LivePlatform(home, config=config)
    # When the doctor looks at it
    done = live.cli("doctor", "--json")
    # Then it names the file, the key and the rule, and what to do
    assert done.returncode == 1
    (overlay,) = [check for check in json.loads(done.stdout)["checks"] if check["name"] == "overlay"]
    assert overlay["ok"] is False
    for words in ("overlay.yaml", f" {key}: ", rule):
        assert words in overlay["detail"], overlay
    assert "DEVSKYY_CONFIG" in overlay["remedy"]
    assert "sk-abc" not in done.stdout + done.stderr


@pytest.mark.parametrize("mistake", ["a negative price", "services that need each other"])
def test_a_platform_does_not_start_with_a_mistake_in_its_overlay(mistake: str, home: Path) -> None:
    config, key, rule = MISTAKES[mistake]
    live = LivePlatform(home, config=config)
    done = live.cli("up", "--detach")
    assert done.returncode == 2
    for words in ("overlay.yaml", key, rule):
        assert words in done.stderr
    assert not live.processes()
