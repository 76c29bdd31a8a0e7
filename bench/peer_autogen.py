"""autogen-core's side of the fan-out: agents of a second, asked at once, in one process.

Runs in an environment of its own, so nothing of ours is imported.

    python peer_autogen.py AGENTS ROUNDS       prints seconds, as JSON
"""

import asyncio
import json
import sys
import time
from dataclasses import dataclass

from autogen_core import AgentId, MessageContext, RoutedAgent, SingleThreadedAgentRuntime, message_handler


@dataclass
class Question:
    text: str


@dataclass
class Reply:
    text: str


class Waits(RoutedAgent):
    @message_handler
    async def on_question(self, message: Question, ctx: MessageContext) -> Reply:
        await asyncio.sleep(1.0)
        return Reply(message.text)


async def main(agents: int, rounds: int) -> list[float]:
    runtime = SingleThreadedAgentRuntime()
    await Waits.register(runtime, "waits", lambda: Waits("waits"))
    runtime.start()
    took = []
    for number in range(rounds + 1):
        began = time.perf_counter()
        asked = (runtime.send_message(Question(f"q{n}"), AgentId("waits", f"{number}-{n}")) for n in range(agents))
        replies = await asyncio.gather(*asked)
        took.append(time.perf_counter() - began)
        assert [reply.text for reply in replies] == [f"q{n}" for n in range(agents)]
    await runtime.stop()
    return took[1:]  # the first one warms up


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))))
