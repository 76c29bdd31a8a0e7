"""`cluster.yaml` against the schema and the checks of the Ray that is pinned, and against what this project needs."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray.autoscaler
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parent.parent
FILE = ROOT / "cluster.yaml"
LOOPBACK = re.compile(r"\blocalhost\b|\b127\.\d+\.\d+\.\d+\b|::1")


@pytest.fixture
def config() -> dict[str, Any]:
    loaded = yaml.safe_load(FILE.read_text())
    assert isinstance(loaded, dict)
    return loaded


@pytest.fixture
def prepared(config: dict[str, Any]) -> dict[str, Any]:
    """As `ray up` sees it: defaults filled in, commands merged."""
    filled = prepare_config(config)
    assert isinstance(filled, dict)
    return filled


def everything(value: Any) -> list[str]:
    """All text in the configuration, keys included; comments are none of it."""
    if isinstance(value, dict):
        return [text for pair in value.items() for part in pair for text in everything(part)]
    if isinstance(value, list):
        return [text for part in value for text in everything(part)]
    return [str(value)]


def test_ray_accepts_it(config: dict[str, Any], prepared: dict[str, Any]) -> None:
    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    jsonschema.validate(config, schema)
    validate_config(prepared)


def test_a_mistake_would_be_noticed(config: dict[str, Any]) -> None:
    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(config | {"max_wrokers": 3}, schema)


def test_node_types_sum_within_the_limit(config: dict[str, Any]) -> None:
    workers = {name: kind for name, kind in config["available_node_types"].items() if name != config["head_node_type"]}
    assert sum(kind["min_workers"] for kind in workers.values()) <= config["max_workers"]
    assert sum(kind["max_workers"] for kind in workers.values()) <= config["max_workers"]
    assert all(kind["min_workers"] <= kind["max_workers"] for kind in workers.values())
    assert config["upscaling_speed"] > 0
    assert config["idle_timeout_minutes"] > 0


def test_there_are_cpu_and_gpu_nodes(config: dict[str, Any]) -> None:
    kinds = config["available_node_types"].values()
    assert [kind for kind in kinds if kind["resources"].get("devskyy_cpu") and not kind["resources"].get("GPU")]
    gpu = [kind for kind in kinds if kind["resources"].get("GPU")]
    assert gpu
    for kind in gpu:
        assert kind["resources"]["devskyy_gpu"] == kind["resources"]["GPU"]
        assert any("[gpu]" in command for command in kind["worker_setup_commands"])


def test_every_node_gets_the_project_its_weights_and_its_pins(prepared: dict[str, Any]) -> None:
    kinds = prepared["available_node_types"].values()
    lists = [prepared["head_setup_commands"], prepared["worker_setup_commands"]]
    lists += [kind["worker_setup_commands"] for kind in kinds if "worker_setup_commands" in kind]
    assert len(lists) == 3
    weights = re.search(r"^WEIGHTS := (\S+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert weights is not None
    for commands in lists:
        (install,) = [c for c in commands if re.search(r" ~/devskyy('\[gpu\]')?$", c)]
        assert "-c ~/devskyy/constraints.txt" in install
        assert any(c.endswith(f"--no-deps {weights[1]}") for c in commands)


def test_what_is_copied_is_the_project_and_nothing_else(config: dict[str, Any]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = {name.removesuffix("*") for name in project["tool"]["setuptools"]["packages"]["find"]["include"]}
    mounts: dict[str, str] = config["file_mounts"]
    token = mounts.pop("~/.ray/auth_token")
    assert token == "~/.ray/auth_token"
    assert set(mounts.values()) == packages | {"pyproject.toml", "constraints.txt", project["project"]["readme"]}
    assert mounts == {f"~/devskyy/{here}": here for here in mounts.values()}


def test_ray_starts_with_token_authentication(config: dict[str, Any]) -> None:
    for commands in (config["head_start_ray_commands"], config["worker_start_ray_commands"]):
        (start,) = [command for command in commands if " start " in command]
        assert "RAY_AUTH_MODE=token " in start


def test_no_address_is_a_loopback(config: dict[str, Any], prepared: dict[str, Any]) -> None:
    assert [text for text in everything(config) + everything(prepared) if LOOPBACK.search(text)] == []


def test_its_reader_is_told_about_the_bus_and_on_prem() -> None:
    comments = "\n".join(line for line in FILE.read_text().splitlines() if line.startswith("#"))
    assert re.search(r"DEVSKYY_NATS_URL=tls://\S+:\S+@", comments)
    assert "type: local" in comments


def test_the_on_prem_variant_is_accepted_too(config: dict[str, Any]) -> None:
    comments = [line[2:] for line in FILE.read_text().splitlines() if line.startswith("# ")]
    start = next(i for i, line in enumerate(comments) if line.strip() == "provider:")
    config |= yaml.safe_load("\n".join(line[4:] for line in comments[start : start + 4]))
    del config["available_node_types"], config["head_node_type"]
    config["max_workers"] = len(config["provider"]["worker_ips"])
    validate_config(prepare_config(config))
