"""The platform of the gateway's tests, and its providers, well behaved before and after each."""

from collections.abc import Iterator

import pytest

from tests.integration.providers import Providers, providers
from tests.simulators.base import Behaviour


@pytest.fixture(scope="session")
def gateways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Providers]:
    """A third platform of the run, with two gateways and three simulated providers."""
    with providers(tmp_path_factory.mktemp("gateways")) as made:
        yield made


@pytest.fixture
def provided(gateways: Providers) -> Iterator[Providers]:
    gateways.behave(Behaviour())
    yield gateways
    gateways.behave(Behaviour())
