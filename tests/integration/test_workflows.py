"""Workflows on a real platform: the customer's own requests as they stand, and the command line."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.live import LivePlatform, until

pytestmark = [pytest.mark.platform, pytest.mark.timeout(300)]

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
LAUNCH = {
    "workflow_type": "fashion_brand_launch",
    "workflow_data": {
        "brand_name": "Élégance Noir",
        "visual_assets_params": {
            "style": "minimalist_luxury",
            "color_palette": ["#000000", "#FFFFFF", "#D4AF37"],
        },
        "website_params": {"theme": "luxury_fashion", "pages": ["home", "shop", "about", "contact"]},
        "inventory_params": {"initial_products": 50, "channels": ["woocommerce", "shopify"]},
        "marketing_params": {"budget": 10000.00, "channels": ["email", "instagram", "facebook"]},
    },
}
"""As the customer's document has it."""


def curl(live: LivePlatform, method: str, path: str, body: Any = None) -> Any:
    words = ["curl", "--silent", "--show-error", "--fail-with-body", "--request", method, f"{live.url}{path}"]
    if body is not None:
        words += ["--header", "Content-Type: application/json", "--data", json.dumps(body)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_the_brand_launch_of_the_document_goes_from_curl_to_its_end(platform: LivePlatform) -> None:
    # Given the document's request, created and executed
    base = "/api/v1/luxury-automation/workflows"
    workflow = curl(platform, "POST", f"{base}/create", LAUNCH)
    assert workflow["status"] == "pending"
    curl(platform, "POST", f"{base}/{workflow['workflow_id']}/execute")
    # When its status is asked for, as the document does, until it has ended
    seen: list[float] = []

    def ended() -> dict[str, Any] | None:
        status = curl(platform, "GET", f"{base}/{workflow['workflow_id']}/status")
        seen.append(status["progress"]["percentage"])
        return dict(status) if status["status"] in ["completed", "failed"] else None

    status = until(ended, 240, "the end of the launch")
    # Then it is completed, at 100 %, by way of what was done so far
    assert (status["status"], seen[-1]) == ("completed", 100.0), status
    assert seen == sorted(seen) and seen[0] < 100
    # And each task says that an agent did it, as the actor of its trade is not there
    for task in status["tasks"].values():
        assert task["status"] == "completed"
        assert task["output"]["in_place_of"] and task["output"]["answer"]
        assert "no actor answers" in task["served_by"]


def test_the_documents_python_runs_as_it_stands(platform: LivePlatform, tmp_path: Path) -> None:
    program = tmp_path / "launch.py"
    program.write_text(PROGRAM.replace("http://localhost:8000", platform.url))
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "Progress: 100.0%"


PROGRAM = """
import asyncio
import aiohttp


async def launch() -> dict:
    url = "http://localhost:8000/api/v1/luxury-automation/workflows"
    asked = {"workflow_type": "fashion_brand_launch",
             "workflow_data": {"brand_name": "Luxe Couture", "max_parallel_tasks": 5}}
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{url}/create", json=asked) as response:
            workflow_id = (await response.json())["workflow_id"]
        async with session.post(f"{url}/{workflow_id}/execute") as response:
            await response.json()
        while True:
            async with session.get(f"{url}/{workflow_id}/status") as response:
                status = await response.json()
            print(f"Progress: {status['progress']['percentage']:.1f}%")
            if status["status"] in ["completed", "failed"]:
                return status
            await asyncio.sleep(1)


assert asyncio.run(launch())["status"] == "completed"
"""
"""As the document launches a brand: the same requests in the same order, the same fields of their replies."""


def test_the_example_file_runs_from_the_command_line(platform: LivePlatform) -> None:
    done = platform.cli("workflows", "run", str(EXAMPLES / "01_brand_launch.yaml"), "--json", timeout_s=250)
    assert done.returncode == 0, done.stderr
    workflow = json.loads(done.stdout)
    assert (workflow["status"], workflow["progress"]["percentage"]) == ("completed", 100.0)


def test_a_workflow_that_waits_goes_on_when_it_is_signalled_from_the_command_line(platform: LivePlatform) -> None:
    # Given a workflow that asks a person
    definition = {
        "name": "ask",
        "tasks": {"ask": {"approval": "Publish?"}, "after": {"wait_s": 0, "depends_on": ["ask"]}},
    }
    body = {"definition": definition}
    workflow_id = httpx.post(f"{platform.url}/api/v1/workflows", json=body, timeout=30).json()["workflow_id"]

    def status() -> str:
        return str(httpx.get(f"{platform.url}/api/v1/workflows/{workflow_id}", timeout=30).json()["status"])

    until(lambda: status() == "waiting", 60, "the workflow waiting")
    # When somebody says yes
    done = platform.cli("workflows", "signal", workflow_id, "ask", "--approve")
    # Then it goes on to its end
    assert done.returncode == 0, done.stderr
    until(lambda: status() == "completed", 60, "its end")


def test_a_workflow_is_listed_and_told_by_its_events(platform: LivePlatform) -> None:
    body = {"definition": {"name": f"listed-{time.time_ns()}", "tasks": {"a": {"wait_s": 0}}}}
    reply = httpx.post(f"{platform.url}/api/v1/workflows", json=body, headers={"Prefer": "wait=60"}, timeout=90)
    assert (reply.status_code, reply.json()["status"]) == (200, "completed")
    workflow_id = reply.json()["workflow_id"]
    events = httpx.get(f"{platform.url}/api/v1/workflows/{workflow_id}/events", timeout=60).text
    assert "event: created" in events and "event: completed" in events

    def listed() -> bool:
        page = httpx.get(f"{platform.url}/api/v1/workflows", timeout=30).json()
        return any(each["workflow_id"] == workflow_id and each["status"] == "completed" for each in page["workflows"])

    until(listed, 30, "the workflow in the list")
