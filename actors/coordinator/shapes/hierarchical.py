"""The hierarchical shape: a strategist divides, agents carry the parts along the graph, specialists improve them."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from actors.coordinator import prompts
from actors.coordinator.asking import Asking
from actors.coordinator.bounds import DEPTH, ROUNDS
from actors.coordinator.classifier import classify_text
from actors.coordinator.graph import MOST_PARTS, Graph, GraphPart, by_rule, graph_of
from actors.coordinator.run import PATIENT, Run, together
from actors.coordinator.seats import Seat, seats_of
from actors.coordinator.shapes.coordinated import coordinated
from actors.coordinator.shapes.parallel import parallel
from actors.coordinator.shapes.part import NobodyAnswered, Outcome, Part, failure, left_out, outcome_of, worth
from schemas.agent import AgentSpec
from schemas.errors import RemoteError
from schemas.task import TIERS
from schemas.team import Contribution, Remark

STRATEGIST = "strategist"
PLAN_TOKENS, OPTIMISATION_TOKENS = 1600, 400
WIDE = 16_000
"""Characters of room from which a part may have a team of its own, and the whole is written anew at the end."""


@dataclass
class Done:
    """What became of one part."""

    node: GraphPart
    outcome: Outcome | None = None
    why_missing: str = ""
    part: Part | None = None
    """As its owner was asked for it."""
    remarks: list[Remark] = field(default_factory=list)


async def hierarchical(run: Run, part: Part, specialists: Mapping[str, AgentSpec], size: int) -> Outcome:
    """
    Args:
        specialists: roles by name.
        size: how many the team is to have, the strategist and the owners of parts among them.

    Raises:
        DevSkyyError: not one part could be done; the error of the first who failed.
    """
    owners = list(dict.fromkeys(seat.agent for seat in part.seats))
    graph = await _plan(run, part, owners)
    done = {node.id: Done(node) for node in graph.parts}
    await _carry(run, part, graph, done)
    if not any(each.outcome for each in done.values()):
        raise failure([c for c in run.story.contributions.values() if c.part and not c.usable])
    taken = {each.outcome.seat.agent for each in done.values() if each.outcome}
    await _optimise(run, part, list(done.values()), specialists, max(0, size - 1 - len(taken)))
    return await _assemble(run, part, list(done.values()))


# -- the plan ----------------------------------------------------------------------------------------------------


async def _plan(run: Run, part: Part, owners: Sequence[str]) -> Graph:
    """The graph as it was decided; the strategist's, or where that cannot be used, one made by rule."""
    name = part.step("graph")
    if (before := run.story.decisions.get(name)) is not None:
        return Graph.model_validate(before.value)
    agents = run.catalogue.agents
    most_parts = max(2, min(MOST_PARTS, 2 * len(owners)))
    strategist = Seat(part.seats[0].agent, STRATEGIST)
    roles = [(owner, agents[owner].role) for owner in owners]
    mistakes: list[str] = []
    for attempt in range(1, ROUNDS + 1):
        said = (
            await run.ask(
                part.step("plan"),
                [
                    Asking(
                        seat=strategist,
                        kind="plan",
                        step=part.step(f"plan-{attempt}"),
                        prompt=prompts.plan(part.prompt, roles, most_parts, part.room, mistakes),
                        part=part.name,
                        to=tuple(owners),
                        priority=1,
                        inputs=part.inputs,
                        history=part.history,
                        **part.form(prompts.plan_schema(owners, most_parts), PLAN_TOKENS),
                    )
                ],
            )
        )[0]
        graph, mistakes = _read(said, part, owners, most_parts)
        if said.marks:  # whoever steers the strategist would steer them all
            graph, mistakes = None, [f"the plan tries to steer its readers ({said.marks[0]})"]
        if graph is not None and not mistakes:
            reason = f"the strategist divides the task into {len(graph.parts)} parts"
            await run.decide(name, graph.model_dump(mode="json"), (reason,), part=part.name)
            return graph
        again = part.step(f"plan-{attempt + 1}")
        if not said.usable or run.thrift.why_not(again, again) is not None:
            break
    fallback = by_rule(part.prompt, {owner: agents[owner] for owner in owners})
    await run.decide(
        name,
        fallback.model_dump(mode="json"),
        (
            f"the task is divided by rule into {len(fallback.parts)} parts",
            *(f"the plan's fault: {m}" for m in mistakes[:5]),
        ),
        change="fell_back",
        part=part.name,
    )
    return fallback


def _read(said: Contribution, part: Part, owners: Sequence[str], most_parts: int) -> tuple[Graph | None, list[str]]:
    if not said.usable:
        return None, [said.problem.detail if said.problem else "the strategist said nothing"]
    return graph_of(said.text, part.prompt, owners, most_parts)


# -- the parts ---------------------------------------------------------------------------------------------------


async def _carry(run: Run, part: Part, graph: Graph, done: Mapping[str, Done]) -> None:
    """Each part as soon as those that it depends on are over, done or not."""
    over = {node.id: asyncio.Event() for node in graph.parts}

    async def carry(node: GraphPart) -> None:
        for needed in node.depends_on:
            await over[needed].wait()
        await _do(run, part, node, done)
        over[node.id].set()

    await together([carry(node) for node in graph.ordered()])


async def _do(run: Run, part: Part, node: GraphPart, done: Mapping[str, Done]) -> None:
    needed = [done[name] for name in node.depends_on]
    results = [(each.node.title, each.outcome.text) for each in needed if each.outcome]
    lacking = [f"The part {each.node.title!r} could not be done; do without it." for each in needed if not each.outcome]
    work = "\n".join([node.work, *lacking])
    own = Part(
        prompt=prompts.part(part.prompt, node.title, work, node.acceptance, results, part.room),
        seats=seats_of([node.owner]),
        room=part.room,
        answer_tokens=part.answer_tokens,
        narrow=part.narrow,
        name=part.step(node.id),
        inputs=part.inputs,
        history=part.history,
        spare=tuple(seat for seat in part.seats if seat.agent != node.owner),
        depth=part.depth + 1,
    )
    done[node.id].part = own
    try:
        done[node.id].outcome = await _shaped(run, own, node, part)
    except (RemoteError, NobodyAnswered) as error:
        done[node.id].why_missing = str(error)
        await run.decide(
            own.step("missing"),
            {"part": node.id, "title": node.title},
            (f"the part {node.title!r} is missing: {error}",),
            change="missing",
            part=own.name,
        )


async def _shaped(run: Run, own: Part, node: GraphPart, whole: Part) -> Outcome:
    """A part in the shape that it needs: most need one agent."""
    tier = classify_text(f"{node.title}. {node.work}").tier
    if (
        own.depth < DEPTH
        and whole.room >= WIDE
        and TIERS.index(tier) >= 1
        and not run.thrift.why_not(own.step("team"), own.step("draft-"))
    ):
        others = [seat.agent for seat in own.spare]
        seats = seats_of([node.owner, *others[: 1 if tier == "moderate" else 3]])
        own = replace(own, seats=seats, spare=own.spare[len(seats) - 1 :])
        return await (parallel if tier == "moderate" else coordinated)(run, own)
    said = await run.ask(own.step("subtask"), [own.asking(own.seats[0], "subtask")], substitutes=own.spare)
    if not said[0].usable:
        raise failure(said)
    return outcome_of(said[0], (*own.seats, *own.spare))


# -- the specialists ---------------------------------------------------------------------------------------------


async def _optimise(
    run: Run, part: Part, done: Sequence[Done], specialists: Mapping[str, AgentSpec], seats: int
) -> None:
    """Specialists say what concerns their trades; whoever owns a part improves it by that."""
    there = [each for each in done if each.outcome]
    seated = _seated(part, there, specialists, seats)
    because: str | None = "there is no specialist for it"
    if seated:
        because = run.thrift.why_not(part.step("optimisation"), part.step("optimise-"))
    if because is None:
        because = await run.host(len(seated))
    if because is not None:
        await left_out(run, part, "optimisation", because)
        return
    by_step = {asking.step: each for asking, each in seated}
    asked = [asking for asking, _ in seated]
    found = 0
    enough = max(1, len(asked) - max(1, len(asked) // 20))
    for said in await run.ask(part.step("optimisation"), asked, enough=enough, patience=PATIENT):
        if not said.marks:
            by_step[said.step].remarks.extend(said.remarks[:3])
            found += len(said.remarks)
    due = [each for each in there if any(remark.severity != "low" for remark in each.remarks)]
    if not due:
        await run.decide(
            part.step("improvement-stopped"),
            {"remarks": found},
            (f"the {len(asked)} specialists found nothing that has to be changed",),
            change="stopped_early",
            part=part.name,
        )
        return
    if (because := run.thrift.why_not(part.step("improvement"), part.step("improve-"))) is not None:
        await left_out(run, part, "improvement", because)
        return
    await together([_improve(run, part, each) for each in due])


def _seated(
    part: Part, there: Sequence[Done], specialists: Mapping[str, AgentSpec], seats: int
) -> list[tuple[Asking, Done]]:
    """Who reads what: to each part those first whose trade it touches, every role once before any comes again."""
    if not specialists or not there:
        return []
    ranked = {
        each.node.id: _concerned(f"{each.node.title}. {each.node.work} {part.prompt}", specialists) for each in there
    }
    picked: list[tuple[str, Done]] = []
    turn, taken = 0, dict.fromkeys(specialists, 0)
    while len(picked) < seats:
        each = there[turn % len(there)]
        role = min(ranked[each.node.id], key=lambda name: taken[name])  # of equals the most concerned
        taken[role] += 1
        turn += 1
        picked.append((role, each))
    seated = []
    for seat, (role, each) in zip(seats_of(role for role, _ in picked), picked, strict=True):
        assert each.outcome is not None
        asking = Asking(
            seat=seat,
            kind="optimisation",
            step=part.step(f"optimise-{each.node.id}-{seat.name}"),
            prompt=prompts.optimisation(
                part.prompt, each.node.title, each.outcome.text, specialists[role].role, part.room
            ),
            part=part.step(each.node.id),
            about=(each.outcome.step,),
            to=(each.outcome.seat.name,),
            reviewed=(),
            **part.form(prompts.OPTIMISATION_SCHEMA, OPTIMISATION_TOKENS),
        )
        seated.append((asking, each))
    return seated


def _concerned(text: str, specialists: Mapping[str, AgentSpec]) -> list[str]:
    touched = set(classify_text(text).domains)
    return sorted(specialists, key=lambda name: -len(touched & set(specialists[name].capabilities)))


async def _improve(run: Run, part: Part, each: Done) -> None:
    outcome, own = each.outcome, each.part
    assert outcome is not None
    assert own is not None
    remarks = sorted(each.remarks, key=lambda remark: ("high", "medium", "low").index(remark.severity))
    said = (
        await run.ask(
            part.step("improvement"),
            [
                own.asking(
                    outcome.seat,
                    "refinement",
                    prompts.refinement(own.prompt, outcome.text, remarks[: prompts.MOST_REMARKS], part.room),
                    step=part.step(f"improve-{each.node.id}"),
                    about=(outcome.step,),
                )
            ],
        )
    )[0]
    if said.usable and worth(said) >= worth(run.story.contributions[outcome.step]):
        each.outcome = outcome_of(said, [outcome.seat])


# -- the whole ---------------------------------------------------------------------------------------------------


async def _assemble(run: Run, part: Part, done: Sequence[Done]) -> Outcome:
    """Everything put together, and what is missing named; written anew in one voice where that measures better."""
    there = [each for each in done if each.outcome]
    missing = [(each.node.title, f"{each.node.title} ({each.why_missing})") for each in done if not each.outcome]
    gaps = [gap for _, gap in missing]
    titles = [title for title, _ in missing]
    texts = [(each.node.title, each.outcome.text) for each in there if each.outcome]
    joined = "\n\n".join(f"## {title}\n\n{text.strip()}" for title, text in texts)
    if missing:
        joined += "\n\n## Missing\n\n" + "\n".join(f"- {gap}" for gap in gaps)
    lead = Seat(part.seats[0].agent, STRATEGIST)
    first = there[0].outcome
    assert first is not None
    plain = Outcome(joined, lead, first.step, "stop", None)
    fits = sum(len(text) for _, text in texts) <= part.room * 2 // 3
    because = None if fits else "the parts are longer than what a model could read at once"
    phase = part.step("assembly in one voice")
    if (
        because := because or run.thrift.why_not(phase, part.step("assembly"))
    ) is not None and part.json_schema is None:
        await left_out(run, part, "assembly in one voice", because)
        return plain
    said = (
        await run.ask(
            part.step("assembly"),
            [
                part.asking(
                    lead,
                    "assembly",
                    prompts.assembly(part.prompt, texts, titles, part.room),
                    step=part.step("assembly"),
                    about=tuple(each.outcome.step for each in there if each.outcome),
                )
            ],
        )
    )[0]
    measured = await run.measure(part.prompt, joined, part.inputs, part.json_schema)
    kept = said.usable and not said.marks and (said.quality or 0) >= (measured.overall or 0)
    kept = kept or (said.usable and part.json_schema is not None)
    why = f"it measures {said.quality or 0:.2f}, the parts side by side {measured.overall or 0:.2f}"
    if said.problem is not None:
        why = said.problem.detail
    await run.decide(
        part.step("choice"),
        {"step": said.step if kept else "", "by": "assembly" if kept else "parts"},
        (f"the text in one voice is {'kept' if kept else 'not kept'}: {why}",),
        part=part.name,
    )
    if not kept:
        return plain
    found = outcome_of(said, [lead])
    untold = [f"- {gap}" for title, gap in missing if title not in found.text]
    if not untold or part.json_schema is not None:
        return found
    return replace(found, text="\n".join([f"{found.text}\n\nMissing:", *untold]))
