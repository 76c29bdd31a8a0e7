"""The card by which other agents find this one, and what it can do.

Source: Agent2Agent Protocol 0.3.0, section 5.5.
"""

from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

from actors.catalogue import Catalogue

CARD = "/.well-known/agent-card.json"
PATH = "/a2a"
PROTOCOL = "0.3.0"
ANSWERS = ("text/plain", "application/json")
TAKES = ("text/plain", "application/json", "image/png", "image/jpeg", "image/webp", "image/gif")


def card(base: str, catalogue: Catalogue | None = None) -> dict[str, Any]:
    """
    Args:
        base: the address of the platform, as its caller knows it.
        catalogue: for whoever may look, the agents that are there; left out, the card says what anybody may know.
    """
    return {
        "protocolVersion": PROTOCOL,
        "name": "DevSkyy",
        "description": "Gives a task to the cheapest team of AI agents that clears its quality bar, and answers with "
        "an honest receipt.",
        "url": f"{base.rstrip('/')}{PATH}",
        "preferredTransport": "JSONRPC",
        "version": version("devskyy"),
        "capabilities": {"streaming": True, "pushNotifications": False, "stateTransitionHistory": False},
        "defaultInputModes": list(TAKES),
        "defaultOutputModes": list(ANSWERS),
        "skills": [_TASK, *(() if catalogue is None else _skills(catalogue))],
        "securitySchemes": {
            "bearer": {"type": "http", "scheme": "bearer", "description": "A key of the platform"},
            "header": {"type": "apiKey", "in": "header", "name": "x-api-key"},
        },
        "security": [{"bearer": []}, {"header": []}],
        "supportsAuthenticatedExtendedCard": True,
    }


_TASK: dict[str, Any] = {
    "id": "task",
    "name": "Any task",
    "description": "Classifies a task, gives it to one agent or to a team of the size that it needs, and judges the "
    "answer. `metadata.devskyy` of a call may hold terms: tier, agent, agents, max_cost_usd, min_quality, timeout_s.",
    "tags": ["task", "writing", "code", "analysis", "orchestration"],
    "examples": ["Write a two-sentence product description for a black leather handbag"],
}


def _skills(catalogue: Catalogue) -> Iterator[dict[str, Any]]:
    for name, spec in catalogue.carriers.items():
        yield {
            "id": f"agent-{name}",
            "name": name,
            "description": f"{spec.role} `metadata.devskyy.agent` of a call names it.",
            "tags": list(spec.capabilities) or [spec.kind],
        }
