"""LangGraph's side of the workflows: a node that adds one and goes round, each round checkpointed to SQLite.

Runs in an environment of its own, so nothing of ours is imported.

    … run FILE WORKFLOWS STEPS     prints seconds, bytes kept and settings, as JSON
    … hold FILE STEPS              does so many, says so, waits to be killed
    … resume FILE                  says when it is ready, goes on once a line is read, prints seconds, waits

The synchronous saver, with a thread for each workflow: 570 steps a second where the asynchronous one made 310. One node
that goes round keeps 1.2 kB a step; a chain of as many nodes is no faster and keeps ever more. `durability="sync"`: a
step begins once the checkpoint of the one before is committed.
"""

import json
import sqlite3
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypedDict

from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph

ENDLESS = 1_000_000_000


class State(TypedDict):
    number: int
    until: int


class Holding:
    """The step at which a process stops and waits to be killed."""

    def __init__(self, at: int | None = None) -> None:
        self.at = at
        self.began: float | None = None
        """When recovery began; the step after the first new one then begins once that one is kept."""

    def __call__(self, number: int) -> None:
        if self.at is None and self.began is not None:
            self.at = number + 1
        elif number == self.at:
            say({"seconds": time.perf_counter() - self.began if self.began else None})
            threading.Event().wait()


def say(what: dict[str, Any]) -> None:
    print(json.dumps(what), flush=True)


def opened(file: str) -> sqlite3.Connection:
    # The saver has a lock of its own: its documentation shares one connection among threads.
    return sqlite3.connect(file, check_same_thread=False)


def graph(connection: sqlite3.Connection, holding: Holding) -> Any:
    def add(state: State) -> dict[str, int]:
        holding(state["number"])
        return {"number": state["number"] + 1}

    made = StateGraph(State)
    made.add_node("add", add)
    made.add_edge(START, "add")
    made.add_conditional_edges("add", lambda state: "add" if state["number"] < state["until"] else END, ["add", END])
    return made.compile(checkpointer=SqliteSaver(connection))


def go(compiled: Any, given: State | None, thread: str) -> int:
    config = {"configurable": {"thread_id": thread}, "recursion_limit": ENDLESS}
    return int(compiled.invoke(given, config, durability="sync")["number"])


def kept(connection: sqlite3.Connection) -> int:
    """Bytes of the database, what lies in the write-ahead log counted as it will stand in the file."""
    return int(connection.execute("PRAGMA page_count").fetchone()[0]) * page_size(connection)


def page_size(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA page_size").fetchone()[0])


def run(file: str, workflows: int, steps: int) -> None:
    connection = opened(file)
    compiled = graph(connection, Holding())
    go(compiled, {"number": 0, "until": 20}, "warm-up")
    before = kept(connection)
    with ThreadPoolExecutor(workflows) as threads:
        began = time.perf_counter()
        ends = threads.map(lambda n: go(compiled, {"number": 0, "until": steps}, f"w{n}"), range(workflows))
        assert list(ends) == [steps] * workflows
        seconds = time.perf_counter() - began
    asked = {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")}
    settings = {name: str(value) for name, value in asked.items()} | {"database": "sqlite"}
    say({"seconds": seconds, "bytes": kept(connection) - before, "settings": settings})


def hold(file: str, steps: int) -> None:
    go(graph(opened(file), Holding(steps)), {"number": 0, "until": ENDLESS}, "held")


def resume(file: str) -> None:
    holding = Holding()
    say({"ready": True})
    sys.stdin.readline()
    holding.began = time.perf_counter()
    go(graph(opened(file), holding), None, "held")


if __name__ == "__main__":
    verb, where, *numbers = sys.argv[1:]
    {"run": run, "hold": hold, "resume": resume}[verb](where, *map(int, numbers))
