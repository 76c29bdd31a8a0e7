import subprocess
import sys

import devskyy

HEAVY = {"ray", "litellm", "nats", "sqlalchemy", "fastapi", "typer"}


def loaded_by(code: str) -> set[str]:
    """The modules that a fresh interpreter has after running some code."""
    shown = f"{code}\nimport sys\nprint(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True, check=True)
    return set(run.stdout.splitlines()[-1].split())


def test_importing_the_package_loads_nothing_of_the_platform() -> None:
    # Given a fresh interpreter
    # When the package is imported, and then all it offers
    package, everything = loaded_by("import devskyy"), loaded_by("from devskyy import *")
    # Then nothing heavy came along; the package alone brings not even the HTTP client
    assert not HEAVY & everything
    assert not (HEAVY | {"httpx", "pydantic"}) & package


def test_every_public_name_is_there() -> None:
    # Given the package
    # When its names are used
    # Then each leads somewhere, and they are in order
    assert devskyy.__all__ == sorted(devskyy.__all__)
    assert all(getattr(devskyy, name) is not None for name in devskyy.__all__)
    assert set(devskyy.__all__) <= set(dir(devskyy))


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    # Given the package
    # When something else is asked of it
    # Then it is missing as from any module
    assert not hasattr(devskyy, "nothing_of_the_kind")
