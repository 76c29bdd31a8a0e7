"""Requests made from the description of the doors, by schemathesis: none is answered with a 5xx, nor with anything that
the description does not say. Behind the doors are a coordinator that answers at once, an engine and a gateway.

In the suite some hundreds of requests; in the soak thousands, most made by rule and the others by chance.
"""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from nats.aio.msg import Msg

from bus.client import Bus
from bus.subjects import TaskEvents
from bus.tasklog import TaskLog
from schemas.key import digest
from schemas.settings import Settings
from serve.app import make_app
from tests.broker import Broker
from tests.serve.conftest import claim, complete
from tests.serve.gateway import gateway
from tests.serve.keys import OPERATORS, make
from tests.serve.stack import on_a_port
from tests.workflow.engines import Engines

ROUND = 10
"""Requests by chance to each door that a round of the soak adds."""
SPARED = {
    "/health/ready": "says 503, as there are no agents",
    "/api/v1/workflows/{workflow_id}/events": "is followed until its workflow ends, which one that waits never does",
    "/api/v1/recordings": "takes what schemathesis cannot make",
}
"""Paths that are left out, and why."""
WAIVED = {
    "positive_data_acceptance": "rules that join several fields, and cursors that a list gave out, are in no schema",
    "negative_data_rejection": "as pydantic does, doors take 0 for false and a number for a moment",
}
"""Checks that are left out, and why; all others are made."""


@pytest.fixture
async def url(broker: Broker, bus: Bus, tasks: TaskLog, engines: Engines, tmp_path: Path) -> AsyncIterator[str]:
    """A platform that asks for a key."""
    home = tmp_path / "http-home"
    home.mkdir()
    fields: dict[str, Any] = {"nats_url": broker.url, "database_url": None, "config": None}
    settings = Settings(home=home, operator_sha256=digest(OPERATORS), **fields)

    async def accepted(msg: Msg) -> None:
        await complete(await claim(tasks, TaskEvents.parse(msg.subject).task))

    await bus.client.subscribe(TaskEvents.pattern(event="accepted"), cb=accepted)
    await engines.start()
    app = make_app(settings)
    async with gateway(bus, settings), on_a_port(app) as url:
        await make(app)
        yield url


@pytest.mark.timeout(3600)
async def test_no_request_is_answered_with_a_failure_or_with_what_is_not_described(
    url: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    rounds, seed = request.config.getoption("--rounds"), request.config.getoption("--seed")
    # When requests are made from the description
    st = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("st")),
        *("run", f"{url}/openapi.json", "--header", f"Authorization: Bearer {OPERATORS}"),
        *("--phases", "examples,coverage,fuzzing" if rounds else "examples,fuzzing"),
        *("--max-examples", str(5 + rounds * ROUND), "--seed", str(seed)),
        *("--request-timeout", "20", "--generation-database", "none", "--workers", "2"),
        *("--no-color", "--continue-on-failure", "--exclude-checks", ",".join(WAIVED)),
        *(word for path in SPARED for word in ("--exclude-path", path)),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said, _ = await st.communicate()
    finally:
        if st.returncode is None:
            st.kill()
    report = said.decode()
    # Then every check passes, of many
    assert st.returncode == 0, report
    made = re.search(r"(\d+) generated", report)
    assert made is not None
    assert int(made[1]) > (2000 if rounds else 200), report
