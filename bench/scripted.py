"""Model providers of known skill behind OpenAI's wire format: what stands behind the agents when shapes are compared.

    python -m bench.scripted '{"seed": 1, "agents": {"s1": {"skill": 0.7}}}'      prints {"url": …}

Each answers multiplications. It is right with probability `skill`; of its errors `systematic` are of the kind that it
makes each time it is asked, the rest are slips that it makes now and then. With `shared`, whoever errs systematically
errs as all others do. As a reviewer, voter or editor it goes by what it holds to be right itself.
"""

import asyncio
import json
import random
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from aiohttp import web

QUESTION = re.compile(r"What is (\d+) times (\d+)\?")
ANSWER = re.compile(r"The answer is (\d+)")
FENCED = re.compile(r"--- (?:answer of|position) ([\w-]+)[^\n]*---\n(.*?)\n--- end of", re.S)


@dataclass(frozen=True)
class Skill:
    skill: float = 0.7
    systematic: float = 0.5
    shared: bool = False
    delay_s: float = 0.0
    fails: float = 0.0


@dataclass
class Scripted:
    """What all of them do, by name."""

    seed: int
    agents: dict[str, Skill]
    asked: dict[str, int] = field(default_factory=dict)

    def belief(self, name: str, left: int, right: int) -> int:
        """What an agent holds to be the product this time."""
        skill, product = self.agents[name], left * right
        number = self.asked[name] = self.asked.get(name, 0) + 1
        who = "all" if skill.shared else name
        fixed = random.Random(f"{self.seed} {who} {left} {right}")
        errs = (1 - skill.skill) * skill.systematic
        if fixed.random() < errs:
            return product + fixed.randrange(1, 60)
        slip = random.Random(f"{self.seed} {name} {left} {right} {number}")
        if slip.random() < ((1 - skill.skill) - errs) / (1 - errs):
            return product + slip.randrange(1, 60)
        return product

    def text(self, name: str, messages: list[dict[str, Any]], schema: dict[str, Any] | None) -> str:
        said = "\n".join(str(each["content"]) for each in messages if each["role"] != "system")
        asked = QUESTION.search(said)
        if asked is None:
            return "I can only multiply."
        held = self.belief(name, int(asked[1]), int(asked[2]))
        answers = {who: ANSWER.search(text) for who, text in FENCED.findall(said)}
        fields = (schema or {}).get("properties", {})
        if "choice" in fields:
            names = fields["choice"]["enum"]
            agreeing = [who for who in names if (a := answers.get(who)) and int(a[1]) == held]
            return json.dumps({"choice": agreeing[0] if agreeing else names[0], "why": f"it comes to {held}"})
        if "best" in fields:
            names = fields["best"]["enum"]
            wrong = [who for who in names if not ((a := answers.get(who)) and int(a[1]) == held)]
            right = [who for who in names if who not in wrong]
            remarks = [
                {"answer": who, "severity": "high", "problem": "the product is wrong", "proposal": f"it is {held}"}
                for who in wrong
            ]
            return json.dumps({"remarks": remarks, "best": (right or names)[0]})
        if "remarks" in fields:
            return json.dumps({"remarks": []})
        return f"The answer is {held}."


async def _complete(request: web.Request) -> web.Response:
    scripted: Scripted = request.app["scripted"]
    name, body = request.match_info["name"], await request.json()
    skill = scripted.agents[name]
    if skill.delay_s:
        await asyncio.sleep(skill.delay_s)
    if skill.fails and random.Random(f"{scripted.seed} {name} {scripted.asked}").random() < skill.fails:
        return web.json_response({"error": {"message": "scripted failure", "type": "server_error"}}, status=400)
    form = body.get("response_format") or {}
    text = scripted.text(name, body["messages"], form.get("json_schema", {}).get("schema"))
    usage = {"prompt_tokens": len(str(body["messages"])) // 4, "completion_tokens": max(1, len(text) // 4)}
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    head = {"id": "chatcmpl-scripted", "object": "chat.completion", "created": 1_700_000_000, "model": name}
    total = {**usage, "total_tokens": sum(usage.values())}
    return web.json_response({**head, "choices": [choice], "usage": total})


async def serve(scripted: Scripted) -> None:
    """Print the URL, then serve until told to end."""
    app = web.Application()
    app["scripted"] = scripted
    app.router.add_post("/{name}/v1/chat/completions", _complete)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    ended = asyncio.Event()
    for ending in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(ending, ended.set)
    print(json.dumps({"url": "http://{}:{}".format(*runner.addresses[0])}), flush=True)
    await ended.wait()
    await runner.cleanup()


@contextmanager
def providers(seed: int, agents: dict[str, Skill]) -> Iterator[str]:
    """The URL of all of them, for as long as the block runs; each is at `<url>/<name>/v1`."""
    said = json.dumps({"seed": seed, "agents": {name: asdict(skill) for name, skill in agents.items()}})
    with subprocess.Popen([sys.executable, "-m", "bench.scripted", said], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())["url"]
        finally:
            process.terminate()


def main() -> None:
    said = json.loads(sys.argv[1])
    asyncio.run(serve(Scripted(said["seed"], {name: Skill(**each) for name, each in said["agents"].items()})))


if __name__ == "__main__":
    main()
