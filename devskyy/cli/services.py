"""`devskyy services`: what can serve, in what state, and why one would be chosen for a task."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from devskyy.wire import TaskOptions
    from schemas.selection import CandidateService, Explanation
    from schemas.service import Price, ServiceStatus

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

app = typer.Typer(help="What can serve a call, at what price, and why not; `explain` tells who would serve a task.")


@app.callback(invoke_without_command=True)
def services(context: typer.Context, as_json: AsJson = False) -> None:
    """What can serve a call, at what price, and why not; `explain` tells who would serve a task."""
    if context.invoked_subcommand is not None:
        context.obj = as_json
        return
    from devskyy.cli import render
    from devskyy.client import Client

    with Client() as client:
        found = client.services()
    if as_json:
        render.document({"services": [service.model_dump(mode="json") for service in found]})
        return
    columns: tuple[str, ...] = ("Service", "Kind", "Model", "Region", "State", "$ per Mtok, in / out", "Why", "Lately")
    rows: list[tuple[str | None, ...]] = [
        (s.name, s.kind, s.model, s.region, s.state, _price(s.price, s.price_unknown_reason), s.reason, _lately(s))
        for s in sorted(found, key=lambda service: (service.state != "available", service.name))
    ]
    if not any(row[-1] for row in rows):  # before anything was asked
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    render.table(columns, rows, "no services")


@app.command("explain")
def explain(
    context: typer.Context,
    prompt: Annotated[str, typer.Argument(metavar="PROMPT|-", help="A task; - reads it from stdin.")],
    agent: Annotated[str | None, typer.Option(help="The agent that is to do it. Left out: chosen for you.")] = None,
    capability: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="What it takes: a capability of an agent, or a profile such as translation; repeatable.",
        ),
    ] = None,
    max_cost_usd: Annotated[float | None, typer.Option(min=0, help="As if it might cost no more than this.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="How long the answer may be.")] = None,
    file: Annotated[
        list[Path] | None,
        typer.Option(exists=True, dir_okay=False, readable=True, metavar="PATH", help="A file to work on; repeatable."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Which service would serve a task, what is foreseen of each that may, and why. Runs nothing."""
    from devskyy.cli import render
    from devskyy.cli.inputs import read_inputs
    from devskyy.cli.run import stdin
    from devskyy.client import Client

    options: TaskOptions = {"agent": agent, "max_cost_usd": max_cost_usd, "max_tokens": max_tokens}
    if capability:
        options["capabilities"] = tuple(capability)
    if file:
        options["inputs"] = read_inputs(file)
    with Client() as client:
        found = client.explain_services(stdin() if prompt == "-" else prompt, **options)
    if as_json or context.obj:
        render.document(found)
        return
    columns = ("", "Service", "State", "Quality", "Cost", "Latency", "Worth", "Why")
    ranked = sorted(found.candidates, key=lambda each: each.rank or len(found.candidates) + 1)
    render.table(columns, [_row(each) for each in ranked], "its agent has no service")
    render.say("", *_facts(found))


def _row(each: "CandidateService") -> tuple[str, ...]:
    from devskyy.cli import render

    latency = "unknown" if each.latency_ms is None else render.seconds(each.latency_ms)
    return (
        "" if each.rank is None else str(each.rank),
        each.service,
        each.state,
        f"{each.quality:.2f} {each.quality_from}",
        "unknown" if each.cost_usd is None else render.cost(each.cost_usd),
        latency,
        "" if each.utility is None else f"{each.utility:.3f}",
        "; ".join(filter(None, (each.reason, *each.notes))),
    )


def _facts(found: "Explanation") -> Iterator[str]:
    profile, features = found.profile, found.features
    yield f"agent     {found.agent}: {'; '.join(found.agent_reasons)}"
    yield f"profile   {profile.name}: {profile.why}. {profile.weighs_because}"
    weighs = ", ".join(f"{name} {share:g}" for name, share in profile.weighs.items())
    yield f"weighs    {weighs}"
    asked = f"difficulty {features.difficulty:.2f}, about {features.prompt_tokens:,} tokens in"
    yield f"task      {asked} and {features.completion_tokens:,} out of at most {features.max_tokens:,}"
    for reason in found.reasons:
        yield f"because   {reason}"
    for service in found.not_routed:
        yield f"kept out  {service}"
    for assumption in found.assumptions:
        yield f"assumed   {assumption}"
    for each in found.candidates:
        if each.cost_usd is None:
            yield f"unknown   {each.service}'s cost: {each.cost_unknown_reason or 'no reason was given'}"
    if found.figures_unknown_reason:
        yield f"unknown   latency: {found.figures_unknown_reason}"
    else:
        for each in found.candidates:
            if each.latency_ms is None:
                yield f"unknown   {each.service}'s latency: {each.latency_unknown_reason or 'no reason was given'}"


def _lately(status: "ServiceStatus") -> str:
    """How a service is doing, as its gateways see it; nothing where none says so."""
    from devskyy.cli import render

    said = []
    figures, breaker = status.figures, status.breaker or (status.figures.breaker if status.figures else None)
    if breaker in ("open", "half_open"):
        why = (figures.breaker_reason if figures else None) or "it failed"
        said.append(f"{'left alone' if breaker == 'open' else 'being tried again'}: {why}")
    if figures is None:
        return "; ".join(said)
    if figures.retry_after_s is not None:
        said.append(f"again in {render.seconds(figures.retry_after_s * 1000)}")
    if figures.p50_ms is not None and figures.p95_ms is not None:
        said.append(f"{render.seconds(figures.p50_ms)} (95 %: {render.seconds(figures.p95_ms)})")
    if figures.calls:
        said.append(f"{figures.errors:,} of {figures.calls:,} calls failed")
    if figures.limited:
        said.append(f"{figures.limited:,} were over its limits")
    if figures.waiting:
        said.append(f"{figures.waiting:,} wait")
    return "; ".join(said)


def _price(price: "Price | None", reason: str | None) -> str:
    if price is None:
        return f"unknown ({reason or 'no reason was given'})"
    tiers = (f"over {t.tokens:,}: {t.input_per_mtok:g} / {t.output_per_mtok:g}" for t in price.above)
    return "\n".join((f"{price.input_per_mtok:g} / {price.output_per_mtok:g}", *tiers))
