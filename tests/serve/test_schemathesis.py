"""Requests made from the description of the doors, by schemathesis: none is answered with a 5xx, nor with anything that
the description does not say. Behind the doors are a coordinator that answers at once, an engine and a gateway.

In the suite some hundreds of requests; in the soak thousands, most made by rule and the others by chance.
"""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from nats.aio.msg import Msg

from bus.client import Bus
from bus.desk import Endpoint
from bus.subjects import FleetForget, TaskEvents
from bus.tasklog import TaskLog
from devskyy.supervisor.nats_users import Forgetting
from schemas.fleet import Forget
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
CURSOR, JOINED, TEXT = "a list gave the cursor out", "rules join several fields", "what a text means is in no schema"
LENIENT = "as pydantic does, it takes 0 for false and a number for a moment"
WAIVED = {
    "positive_data_acceptance": {
        **dict.fromkeys(("/api/v1/tasks", "/api/v1/workflows", "/api/v1/audit"), CURSOR),
        "/api/v1/webhooks/{webhook_id}/deliveries": CURSOR,
        "/api/v1/costs": JOINED,
        **dict.fromkeys(("/api/v1/services/explain", "/api/v1/workflows/validate"), JOINED),
        **dict.fromkeys(("/api/v1/luxury-automation/workflows/create", "/api/v1/webhooks/{webhook_id}"), JOINED),
        **dict.fromkeys(("/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1/messages/count_tokens"), JOINED),
        **dict.fromkeys(("/api/v1/keys", "/api/v1/keys/{key_id}", "/api/v1/tokens"), "an end lies in the future"),
        **dict.fromkeys(("/api/v1/webhooks", "/v1/embeddings"), TEXT),
        **{
            f"/api/v1/workflows/{{workflow_id}}/{verb}": "what there is of a workflow is in no schema"
            for verb in ("fork", "signals/{name}", "retry", "cancel")
        },
    },
    "negative_data_rejection": {
        **dict.fromkeys(("/api/v1/tasks", "/api/v1/services/explain", "/api/v1/audit", "/api/v1/tokens"), LENIENT),
        **dict.fromkeys(("/api/v1/workflows", "/api/v1/workflows/validate"), LENIENT),
        **dict.fromkeys(("/api/v1/workflows/{workflow_id}/fork", "/api/v1/keys", "/api/v1/keys/{key_id}"), LENIENT),
        **dict.fromkeys(("/api/v1/webhooks", "/api/v1/webhooks/{webhook_id}"), LENIENT),
        **dict.fromkeys(("/v1/chat/completions", "/v1/responses", "/v1/messages"), LENIENT),
        "/v1/messages/count_tokens": LENIENT,
        "/a2a": "JSON-RPC says what is wrong in a 200",
    },
}
"""Checks that are left out at some paths, and why. Everything else is checked everywhere."""


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
    await bus.serve(
        "fleet", [Endpoint("forget", str(FleetForget()), Forget, Forgetting(home, embedded=False).forget)], "", {}
    )
    app = make_app(settings)
    async with gateway(bus, settings), on_a_port(app) as url:
        await make(app)
        yield url


@pytest.mark.timeout(3600)
async def test_no_request_is_answered_with_a_failure_or_with_what_is_not_described(
    url: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    waived = [
        f"[[operations]]\ninclude-path = {json.dumps(path)}\nchecks.{check}.enabled = false\n"
        for check, paths in WAIVED.items()
        for path in paths
    ]
    (tmp_path / "schemathesis.toml").write_text("\n".join(waived))
    rounds, seed = request.config.getoption("--rounds"), request.config.getoption("--seed")
    # When requests are made from the description
    st = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("st")),
        *("run", f"{url}/openapi.json", "--header", f"Authorization: Bearer {OPERATORS}"),
        *("--phases", "examples,coverage,fuzzing" if rounds else "examples,fuzzing"),
        *("--max-examples", str(5 + rounds * ROUND), "--seed", str(seed)),
        *("--request-timeout", "20", "--generation-database", "none", "--workers", "2"),
        *("--no-color", "--continue-on-failure"),
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
