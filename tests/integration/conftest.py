"""The platform of the gateway's tests, and its providers, well behaved before and after each."""

from collections.abc import Iterator

import pytest

from tests.conftest import while_needed
from tests.integration.providers import Providers, providers
from tests.simulators.base import Behaviour


@pytest.fixture(scope="session")
def gateways(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Providers:
    """A platform with two gateways and three simulated providers."""
    return while_needed(request, providers(tmp_path_factory.mktemp("gateways")))


@pytest.fixture
def provided(gateways: Providers) -> Iterator[Providers]:
    gateways.behave(Behaviour())
    yield gateways
    gateways.behave(Behaviour())
