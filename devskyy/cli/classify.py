"""`devskyy classify`: how hard a task is, how sure that is, and why. Needs no running platform."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from devskyy.wire import TaskOptions


def classify(
    prompt: Annotated[str, typer.Argument(metavar="PROMPT|-", help="What is to be done; - reads it from stdin.")],
    file: Annotated[
        list[Path] | None,
        typer.Option(exists=True, dir_okay=False, readable=True, metavar="PATH", help="A file to work on; repeatable."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """How hard a task is, how sure that is, and why. Runs nothing."""
    from actors.coordinator.classifier import classify as read
    from devskyy.cli import render
    from devskyy.cli.inputs import read_inputs
    from devskyy.cli.run import stdin
    from devskyy.wire import task_request

    options: TaskOptions = {"inputs": read_inputs(file)} if file else {}
    seen = read(task_request(stdin() if prompt == "-" else prompt, options))
    if as_json:
        render.document(
            {
                "tier": seen.tier,
                "confidence": seen.confidence,
                "difficulty": seen.difficulty,
                "reasons": list(seen.reasons),
            }
        )
        return
    render.say(f"{seen.tier}, difficulty {seen.difficulty:.2f}, {seen.confidence:.0%} sure", "")
    render.say(*(f"· {reason}" for reason in seen.reasons))
