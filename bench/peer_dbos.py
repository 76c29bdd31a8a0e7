"""DBOS's side of the workflows: a workflow that calls a step that adds one, over and over.

Runs in an environment of its own, so nothing of ours is imported.

    … run URL WORKFLOWS STEPS     prints seconds, bytes kept and settings, as JSON
    … hold URL STEPS              does so many, says so, waits to be killed
    … resume URL                  says when it is ready, goes on once a line is read, prints seconds, waits

What was fastest of what its configuration offers: workflows in threads (async ones made three quarters of it), logs
off, connections not tried before each use, and SQLite with a write-ahead log (480 steps a second; 320 without).
"""

import json
import sqlite3
import sys
import threading
import time
from typing import Any

import sqlalchemy as sa
from dbos import DBOS, DBOSConfig, SetWorkflowID
from dbos._dbos import _get_dbos_instance

ENDLESS = 1_000_000_000
SQLITE = "sqlite:///"
POSTGRES_KEPT = """
    SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'dbos' AND c.relkind = 'r'
"""


class Holding:
    """The step at which a process stops and waits to be killed."""

    at: int | None = None
    began: float | None = None
    """When recovery began; the step after the first new one then begins once that one is kept."""

    def __call__(self, number: int) -> None:
        if self.at is None and self.began is not None:
            self.at = number + 1
        elif number == self.at:
            say({"seconds": time.perf_counter() - self.began if self.began else None})
            threading.Event().wait()


holding = Holding()


@DBOS.step()
def add(number: int) -> int:
    holding(number)
    return number + 1


@DBOS.workflow()
def chain(steps: int) -> int:
    number = 0
    while number < steps:
        number = add(number)
    return number


def say(what: dict[str, Any]) -> None:
    print(json.dumps(what), flush=True)


def launch(url: str) -> None:
    config: DBOSConfig = {
        "name": "bench",
        "system_database_url": url,
        "executor_id": "bench",
        "application_version": "1",
        "log_level": "CRITICAL",
        "db_engine_kwargs": {"pool_pre_ping": False},
    }
    DBOS(config=config)
    DBOS.launch()


def prepare(url: str) -> None:
    """The journal mode stays with the file, and DBOS leaves it as it finds it."""
    if url.startswith(SQLITE):
        connection = sqlite3.connect(url.removeprefix(SQLITE))
        connection.execute("PRAGMA journal_mode=WAL")
        connection.close()


def asked(*queries: str) -> list[Any]:
    """Answers over a connection of DBOS's own: some settings belong to a connection."""
    with _get_dbos_instance()._sys_db.engine.connect() as connection:
        return [connection.execute(sa.text(query)).scalar() for query in queries]


def kept(url: str) -> int:
    """Bytes of the database; of SQLite's, what lies in the log counted as it will stand in the file."""
    if url.startswith(SQLITE):
        pages, size = asked("PRAGMA page_count", "PRAGMA page_size")
        return int(pages) * int(size)
    return int(asked(POSTGRES_KEPT)[0])


def settings(url: str) -> dict[str, str]:
    if url.startswith(SQLITE):
        names, how, found = ("journal_mode", "synchronous"), "PRAGMA", {"database": "sqlite"}
    else:
        names, how, found = ("fsync", "synchronous_commit", "full_page_writes"), "SHOW", {"database": "postgresql"}
    return found | {name: str(asked(f"{how} {name}")[0]) for name in names}


def run(url: str, workflows: int, steps: int) -> None:
    prepare(url)
    launch(url)
    DBOS.start_workflow(chain, 20).get_result()
    before = kept(url)
    began = time.perf_counter()
    handles = [DBOS.start_workflow(chain, steps) for _ in range(workflows)]
    assert [handle.get_result() for handle in handles] == [steps] * workflows
    seconds = time.perf_counter() - began
    say({"seconds": seconds, "bytes": kept(url) - before, "settings": settings(url)})
    DBOS.destroy()


def hold(url: str, steps: int) -> None:
    prepare(url)
    holding.at = steps
    launch(url)
    with SetWorkflowID("held"):
        DBOS.start_workflow(chain, ENDLESS).get_result()


def resume(url: str) -> None:
    say({"ready": True})
    sys.stdin.readline()
    holding.began = time.perf_counter()
    launch(url)  # finds what was pending and goes on with it
    threading.Event().wait()


if __name__ == "__main__":
    verb, where, *numbers = sys.argv[1:]
    {"run": run, "hold": hold, "resume": resume}[verb](where, *map(int, numbers))
