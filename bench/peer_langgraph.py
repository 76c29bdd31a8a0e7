"""LangGraph's side of the fan-out: nodes of a second, sent at once, in one process.

Runs in an environment of its own, so nothing of ours is imported.

    python peer_langgraph.py AGENTS ROUNDS       prints seconds, as JSON
"""

import asyncio
import json
import operator
import sys
import time
from typing import Annotated, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import Send


class State(TypedDict):
    questions: list[str]
    replies: Annotated[list[str], operator.add]


class Question(TypedDict):
    text: str


async def waits(question: Question) -> dict[str, list[str]]:
    await asyncio.sleep(1.0)
    return {"replies": [question["text"]]}


async def main(agents: int, rounds: int) -> list[float]:
    graph = StateGraph(State)
    graph.add_node("waits", waits)
    graph.add_conditional_edges(START, lambda state: [Send("waits", {"text": text}) for text in state["questions"]])
    graph.add_edge("waits", END)
    compiled = graph.compile()
    took = []
    for _ in range(rounds + 1):
        questions = [f"q{n}" for n in range(agents)]
        began = time.perf_counter()
        state = await compiled.ainvoke({"questions": questions, "replies": []}, {"max_concurrency": agents})
        took.append(time.perf_counter() - began)
        assert sorted(state["replies"]) == sorted(questions)
    return took[1:]  # the first one warms up


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))))
