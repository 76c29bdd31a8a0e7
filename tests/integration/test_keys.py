"""API keys on a real platform: open until the first one; then every door asks, budgets hold, costs have a name."""

import stat
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from devskyy.supervisor.operator import key_path
from tests.live import LivePlatform, until
from tests.simulators.openai import OpenAISimulator

pytestmark = pytest.mark.platform

TASKS, KEYS = "/api/v1/tasks", "/api/v1/keys"


@dataclass
class Doors:
    """The HTTP doors of a platform, and the key that its user has there."""

    live: LivePlatform
    operator: str

    def call(self, method: str, path: str, secret: str | None = None, **how: Any) -> httpx.Response:
        headers = {"x-api-key": secret} if secret else {}
        how["headers"] = headers | how.get("headers", {})
        return httpx.request(method, f"{self.live.url}{path}", timeout=70, **how)

    def ask(self, secret: str | None = None) -> httpx.Response:
        """A task as its caller waits for it."""
        return self.call("POST", TASKS, secret, json={"prompt": "Name a bag"}, headers={"Prefer": "wait=60"})

    def chat(self, secret: str) -> httpx.Response:
        body = {"model": "devskyy-auto", "messages": [{"role": "user", "content": "Name a bag"}], "max_tokens": 100}
        bearer = {"Authorization": f"Bearer {secret}"}
        return self.call("POST", "/v1/chat/completions", json=body, headers=bearer)

    def make(self, name: str, **fields: Any) -> dict[str, Any]:
        made = self.call("POST", KEYS, self.operator, json={"name": name, **fields})
        assert made.status_code == 201, made.text
        return dict(made.json())

    def look(self, secret: str | None = None) -> int:
        return self.call("GET", TASKS, secret).status_code

    def used(self, key: str) -> float:
        """What is used of a key's own budget."""
        budgets = self.call("GET", "/api/v1/budgets", self.operator).json()["budgets"]
        return next(float(each["used"]) for each in budgets if each["name"] == key)

    def spent(self, key: str) -> float:
        """What the ledger has under a key."""
        rows = self.call("GET", "/api/v1/costs", self.operator, params={"by": "key"}).json()["rows"]
        return float(sum(row["spent_usd"] for row in rows if row["key"] == key))


@pytest.mark.last
def test_the_first_key_shuts_the_platform_and_its_budget_holds(
    simulated: tuple[LivePlatform, OpenAISimulator], sim: OpenAISimulator
) -> None:
    live, _ = simulated
    home = live.home
    doors = Doors(live, key_path(home).read_text().strip())
    # Given a platform without a key: it is open, whatever clients must send; the operator's key is its user's
    assert (doors.ask().status_code, doors.look("sk-any")) == (200, 200)
    assert stat.S_IMODE(key_path(home).stat().st_mode) == 0o600
    # When a key is made that may spend next to nothing
    poor = live.json("keys", "create", "poor", "--usd-per-day", "0.000001")
    # Then nobody is let in without one, but for health; the command line of this user is
    refused = doors.call("GET", TASKS)
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, 'Bearer realm="devskyy"')
    assert (doors.ask().status_code, doors.look("sk-any"), doors.look(poor["secret"])) == (401, 401, 200)
    assert live.ready()
    # And the budget refuses the call that does not fit, with what was left, before anybody is asked
    asked, of_key = len(sim.calls), f"$0.000001 is left of the day's budget of key {poor['key']['id']}"
    task = doors.ask(poor["secret"]).json()
    assert (task["status"], task["error"]["status"]) == ("failed", 402)
    assert of_key in task["error"]["detail"]
    reply = doors.chat(poor["secret"])
    assert (reply.status_code, reply.json()["error"]["code"]) == (402, "budget_exceeded")
    assert (of_key in reply.json()["error"]["message"], len(sim.calls)) == (True, asked)
    # When another key may spend enough
    rich = doors.make("rich", budget={"usd": 1}, rpm=600)
    served = doors.ask(rich["secret"])
    # Then it is served, is told how often it may come, and its task, budget and costs have its name
    task, name = served.json(), rich["key"]["id"]
    assert (task["status"], task["key"], served.headers["ratelimit-limit"]) == ("completed", name, "600")
    cost = task["receipt"]["cost_usd"]
    assert cost > 0
    until(lambda: doors.spent(name) == pytest.approx(cost), 20, "its costs in the ledger")
    until(lambda: doors.used(name) == pytest.approx(cost), 10, "its settlement")
    assert doors.spent(poor["key"]["id"]) == 0
    shown = live.cli("costs", "--by", "key").stdout
    assert name in shown
    # And another tenant's mightiest key sees nothing of it
    other = doors.make("other", tenant="acme", scopes=["admin"])["secret"]
    assert doors.call("GET", f"{TASKS}/{task['task_id']}", other).status_code == 404
    # When a key is revoked, Then it opens nothing any more
    assert doors.call("DELETE", f"{KEYS}/{name}", doors.operator).status_code == 200
    assert doors.look(rich["secret"]) == 401
    # And no secret was logged
    logged = live.logs(lines=100_000)
    for secret in (poor["secret"], rich["secret"], doors.operator):
        assert secret.rpartition("_")[2] not in logged
