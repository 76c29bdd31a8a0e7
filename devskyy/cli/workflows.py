"""`devskyy workflows`: run workflows, look at them, steer them."""

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from devskyy.cli import erase, workflow_run
from devskyy.cli.workflow_run import AsJson, Input, Inputs, MaxCost, MaxParallel, Source, Timeout, WorkflowId
from schemas.errors import InvalidRequest

if TYPE_CHECKING:
    from schemas.workflow import Workflow, WorkflowRequest
    from schemas.workflow_doors import CheckedWorkflow

StatusName = Literal["pending", "running", "waiting", "compensating", "completed", "failed", "cancelled"]

SETTLE_S = 5.0
"""How long a command is waited for to be done, so that it can be told how the workflow then stands."""

app = typer.Typer(help="Run workflows, look at them, steer them.", no_args_is_help=True)
app.command("run")(workflow_run.run)
app.command("create")(workflow_run.create)
app.command("watch")(workflow_run.watch)


# -- to look at --------------------------------------------------------------------------------------------------------


@app.command()
def validate(
    source: Source,
    input_: Input = None,
    inputs: Inputs = None,
    max_parallel: MaxParallel = None,
    max_cost_usd: MaxCost = None,
    timeout: Timeout = None,
    as_json: AsJson = False,
) -> None:
    """Say what is wrong with a workflow, with the line of each mistake; or in what order its tasks would run."""
    from devskyy.cli import graph, render
    from devskyy.cli.workflow_files import located
    from devskyy.client import Client
    from devskyy.errors import PlatformNotRunning

    request = workflow_run.wanted(source, input_, inputs, max_parallel, max_cost_usd, timeout, start=False)
    with located(source, as_json):
        try:
            with Client() as client:
                checked = client.validate_workflow(request)
        except PlatformNotRunning:
            checked = _checked_here(request)
            render.err().print("no platform runs: whether its agents, services and functions exist was not looked up")
    if as_json:
        render.document(checked)
        return
    titles = {} if request.definition is None else {n: task.title for n, task in request.definition.tasks.items()}
    tasks = f"{len(checked.tasks):,} task{'' if len(checked.tasks) == 1 else 's'}"
    render.say(f"{checked.name} could run: {tasks}", graph.plan(checked.tasks, titles, render.out().width))


@app.command()
def templates(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="One of them, in full.")] = None,
    as_json: AsJson = False,
) -> None:
    """The workflows that come with the platform; with a name, its inputs and tasks."""
    from actors.workflow.graph import dependencies
    from devskyy.cli import graph, render
    from devskyy.client import Client

    if name is not None:
        with Client() as client:
            found = client.workflow_template(name)
        if as_json:
            render.document(found.model_dump(mode="json", exclude_defaults=True))
            return
        render.say(found.name, found.description, "")
        rows = [(each, *_input(schema)) for each, schema in found.inputs.items()]
        render.table(("Input", "Type", "Left out", "What"), rows, "no inputs")
        titles = {each: task.title for each, task in found.tasks.items()}
        render.say("", graph.plan(dependencies(found), titles, render.out().width))
        return
    with Client() as client:
        every = client.workflow_templates()
    if as_json:
        render.document({"templates": [each.model_dump(mode="json") for each in every]})
        return
    listed = [(each.name, ", ".join(each.inputs), ", ".join(each.tasks), each.description) for each in every]
    render.table(("Template", "Inputs", "Tasks", "What"), listed, "no templates")


@app.command("list")
def list_(
    limit: Annotated[int | None, typer.Option(min=1, help="Workflows on one page.")] = None,
    cursor: Annotated[str | None, typer.Option(help="Where the page before this one ended.")] = None,
    status: Annotated[StatusName | None, typer.Option(help="Only these.")] = None,
    name: Annotated[str | None, typer.Option(help="Only those of this name.")] = None,
    children: Annotated[bool, typer.Option("--children", help="Also those that are tasks of others.")] = False,
    as_json: AsJson = False,
) -> None:
    """The latest workflows."""
    from devskyy.cli import render
    from devskyy.client import Client

    with Client() as client:
        page = client.workflows(limit, cursor, status, name=name, children=children)
    if as_json:
        render.document(page)
        return
    rows = [
        (
            each.workflow_id,
            each.name,
            each.status,
            f"{each.percentage:g} %",
            f"{each.created_at.astimezone():%Y-%m-%d %H:%M:%S}",
            "unknown" if each.cost_usd is None and each.finished_at else render.cost(each.cost_usd or 0.0),
        )
        for each in page.workflows
    ]
    render.table(("Workflow", "Name", "Status", "Done", "Created", "Cost"), rows, "no workflows")
    if page.next:
        render.say(f"more: devskyy workflows list --cursor {page.next}")


@app.command()
def status(workflow_id: WorkflowId, as_json: AsJson = False) -> None:
    """How a workflow stands: its graph, what it waits for and the commands that end that, what it came to."""
    from devskyy.cli import graph, render, workflow_result
    from devskyy.client import Client
    from schemas.message import now

    with Client() as client:
        found = client.workflow(workflow_id)
    if as_json:
        render.document(found)
        return
    render.say(*graph.whole(found, now(), render.out().width))
    render.say(*(told.plain for told in graph.waits(found)))
    render.say("", workflow_result.summary(found))


@app.command()
def events(
    workflow_id: WorkflowId,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until the workflow ends.")] = False,
    as_json: AsJson = False,
) -> None:
    """What happened to a workflow, in order. With --follow --json: one JSON object a line."""
    from devskyy.cli.events import print_events

    print_events(
        "workflow_id",
        workflow_id,
        history=lambda client: client.workflow_history(workflow_id),
        following=(lambda client: client.workflow_events(workflow_id)) if follow else None,
        line=_line,
        as_json=as_json,
    )


@app.command()
def output(
    workflow_id: WorkflowId,
    task: Annotated[str | None, typer.Argument(help="A task of it. Left out: what the workflow gives back.")] = None,
    item: Annotated[int | None, typer.Option(min=0, help="Of a mapped task, one item by its number, from 0.")] = None,
    as_json: AsJson = False,
) -> None:
    """What a workflow gave, or a task of it, whole."""
    from devskyy.cli import render, workflow_result
    from devskyy.client import Client

    if item is not None and task is None:
        raise InvalidRequest("--item", "belongs to a task; name it")
    with Client() as client:
        found = client.workflow_output(workflow_id, task, item)
    if as_json:
        print(json.dumps(found, ensure_ascii=False))
    else:
        render.say(workflow_result.value(found))


# -- to steer ----------------------------------------------------------------------------------------------------------


@app.command()
def start(workflow_id: WorkflowId, as_json: AsJson = False) -> None:
    """Start a workflow that was created and not started."""
    from devskyy.client import Client

    with Client() as client:
        _tell(client.start_workflow(workflow_id, wait_s=SETTLE_S), as_json)


@app.command()
def pause(workflow_id: WorkflowId, as_json: AsJson = False) -> None:
    """Have nothing new begin; what runs comes to its end."""
    from devskyy.client import Client

    with Client() as client:
        _tell(client.pause_workflow(workflow_id, wait_s=SETTLE_S), as_json)


@app.command()
def resume(workflow_id: WorkflowId, as_json: AsJson = False) -> None:
    """Have one that is paused go on."""
    from devskyy.client import Client

    with Client() as client:
        _tell(client.resume_workflow(workflow_id, wait_s=SETTLE_S), as_json)


@app.command()
def cancel(
    workflow_id: WorkflowId,
    no_compensation: Annotated[
        bool, typer.Option("--no-compensation", help="Leave what was done as it is, instead of undoing it.")
    ] = False,
    reason: Annotated[str | None, typer.Option(help="Why; it stands in the workflow's events.")] = None,
    as_json: AsJson = False,
) -> None:
    """Bring a workflow to an end; what was done is undone first."""
    from devskyy.client import Client

    with Client() as client:
        found = client.cancel_workflow(workflow_id, reason, compensate=not no_compensation, wait_s=SETTLE_S)
    _tell(found, as_json)


@app.command()
def delete(workflow_ids: erase.Ids, with_costs: erase.WithCosts = False, as_json: AsJson = False) -> None:
    """Erase workflows that have ended, with their tasks, everywhere they are kept."""
    from devskyy.client import Client

    with Client() as client:
        erase.each(workflow_ids, lambda each: client.delete_workflow(each, with_costs=with_costs), as_json)


@app.command()
def retry(
    workflow_id: WorkflowId,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="TASK", help="This one anew, and all that follows it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Have a workflow that failed or was cancelled go on; what was done well is not done again."""
    from devskyy.client import Client

    with Client() as client:
        _tell(client.retry_workflow(workflow_id, from_, wait_s=SETTLE_S), as_json)


@app.command()
def signal(
    workflow_id: WorkflowId,
    name: Annotated[str, typer.Argument(help="The signal; of an approval, the task's name.")],
    payload: Annotated[str | None, typer.Option(metavar="JSON", help="What it says.")] = None,
    approve: Annotated[bool, typer.Option("--approve", help="Say yes to an approval.")] = False,
    reject: Annotated[bool, typer.Option("--reject", help="Say no; the task fails then.")] = False,
    comment: Annotated[str | None, typer.Option(help="Why, to an approval.")] = None,
    as_json: AsJson = False,
) -> None:
    """Send a workflow what it waits for, or will."""
    from devskyy.client import Client

    said = _payload(payload, approve=approve, reject=reject, comment=comment)
    with Client() as client:
        _tell(client.signal_workflow(workflow_id, name, said, wait_s=SETTLE_S), as_json)


@app.command()
def fork(
    workflow_id: WorkflowId,
    after: Annotated[int, typer.Option(metavar="EVENT", min=1, help="The event's number, as `events` shows it.")],
    input_: Input = None,
    inputs: Inputs = None,
    no_start: Annotated[bool, typer.Option("--no-start", help="Only create it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Have another workflow that begins as this one stood after an event, with other inputs if you like."""
    from devskyy.cli.workflow_files import read_inputs
    from devskyy.client import Client

    with Client() as client:
        created = client.workflow_history(workflow_id)[:1] if input_ else ()
        schemas = created[0].get("definition", {}).get("inputs", {}) if created else {}
        given = read_inputs(input_ or [], inputs, schemas)
        accepted = client.fork_workflow(workflow_id, after, given, start=not no_start)
    workflow_run.tell(accepted, as_json, started=not no_start)


def _checked_here(request: "WorkflowRequest") -> "CheckedWorkflow":
    """As far as that goes without a platform.

    Raises:
        InvalidWorkflow: all that is wrong with it.
    """
    from actors.workflow import graph
    from actors.workflow.catalogue import built_in
    from actors.workflow.check import Known, check, prepared
    from schemas.workflow_doors import CheckedWorkflow

    definition, given = prepared(request, built_in())
    check(definition, given, Known())
    needed = graph.dependencies(definition)
    return CheckedWorkflow(name=definition.name, tasks=needed, order=graph.order(needed), inputs=given)


def _payload(text: str | None, *, approve: bool, reject: bool, comment: str | None) -> Any:
    """
    Raises:
        InvalidRequest: more than one thing is said, or none that JSON can say.
    """
    if sum((text is not None, approve, reject)) > 1:
        raise InvalidRequest("--payload", "give one of --payload, --approve and --reject")
    if approve or reject:
        return {"approved": approve} | ({} if comment is None else {"comment": comment})
    if comment is not None:
        raise InvalidRequest("--comment", "goes with --approve or --reject")
    try:
        return None if text is None else json.loads(text)
    except ValueError as error:
        raise InvalidRequest("--payload", f"is no JSON: {error}; a text stands in double quotes") from None


def _tell(found: "Workflow", as_json: bool) -> None:
    """How it stands after a command."""
    from devskyy.cli import render
    from devskyy.cli import workflow_words as words
    from schemas.message import now

    if as_json:
        render.document(found)
    else:
        render.say(words.totals(found, now()))


def _input(schema: dict[str, Any]) -> tuple[str, str, str]:
    """Its type, what it is when it is left out, what it means."""
    kind = schema.get("type", "any")
    kind = " or ".join(map(str, kind)) if isinstance(kind, list) else str(kind)
    left_out = json.dumps(schema["default"], ensure_ascii=False) if "default" in schema else "must be given"
    parts = ", ".join(schema.get("properties", ()))
    told = schema.get("description", "")
    return kind, left_out, f"{told}: {parts}" if told and parts else told or parts


def _line(event: dict[str, Any]) -> str:
    from devskyy.cli.render import line
    from devskyy.cli.tasks import when
    from devskyy.cli.words import MOST_IN_AN_EVENT
    from devskyy.cli.workflow_words import event_line

    return f"{event.get('seq', '')!s:>4}  {when(event.get('at'))}  {line(event_line(event), MOST_IN_AN_EVENT)}"
