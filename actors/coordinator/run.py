"""A team at work on one task: asks, waits, writes down what came of it, and keeps within the task's bounds."""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from actors.catalogue import Catalogue
from actors.coordinator.asking import Asking, NotAsked, TooSlow, worth_another
from actors.coordinator.assessor import Assessor
from actors.coordinator.bounds import Bounds
from actors.coordinator.remarks import said_of
from actors.coordinator.seats import Seat
from actors.coordinator.story import Dispatch, Story
from actors.coordinator.terms import terms_of
from actors.coordinator.thrift import Thrift
from actors.quality.steering import steering
from schemas.agent import Answer, Ask
from schemas.errors import (
    BudgetExceeded,
    Cancelled,
    DevSkyyError,
    Fenced,
    StorageFull,
    Unavailable,
)
from schemas.event import Accepted
from schemas.problem import Problem
from schemas.quality import Quality
from schemas.task import Input
from schemas.team import Change, Contribution, Decision

Asks = Callable[[Ask, str], Awaitable[Answer]]
"""Ask the agent of that name."""
Hosts = Callable[[int], Awaitable[None]]
"""See that so many seats of specialists have an actor that answers for them."""

MARGIN = 0.03
"""Of a task's time, kept back from its steps: what they came to can still be put together."""
MOST_MARGIN_S = 10.0
SLOW = 3.0
"""Once enough have answered, the rest have this many times the median of what those took."""
PATIENT = 10.0
"""The same where each has a part of its own: whoever waits for the embedded model, which answers four at a time, is
slow and no less wanted."""
LEAST_WAIT_S = 0.25
RECOVERED_WAIT_S = 5.0
"""How long a later owner waits for more than it found."""
HOSTS_S = 60.0
"""How long the hosts of specialists may take to start."""
LONG_TEXT = 10_000
"""Characters that take some ms to search; a longer text is searched beside the loop."""
MOST_STEPS = 2_000
"""Of one event, some 100 bytes each: a larger one could not be read by clients from outside."""


class Run:
    """What shapes are written with: `ask`, `decide`, `measure`. All three give a later owner the same again."""

    def __init__(
        self,
        accepted: Accepted,
        story: Story,
        catalogue: Catalogue,
        ask: Asks,
        assessor: Assessor,
        bounds: Bounds,
        hosts: Hosts,
        services: Mapping[str, tuple[str, ...]],
    ) -> None:
        """
        Args:
            services: the order of services by agent, where one was chosen.
        """
        self.accepted, self.request, self.catalogue = accepted, accepted.request, catalogue
        self.story, self.assessor, self.bounds = story, assessor, bounds
        self._ask, self._hosts, self._services = ask, hosts, services
        margin_s = min(MOST_MARGIN_S, MARGIN * (accepted.deadline_at - accepted.at).total_seconds())
        self.deadline_at: datetime = accepted.deadline_at - timedelta(seconds=margin_s)
        self.thrift = Thrift(accepted, story, bounds, self.deadline_at)
        self._taken: dict[str, tuple[str | None, bool]] = {}
        """Of each step which earlier one did the same, and whether the bound was met before it."""
        self.qualities: dict[str, Quality] = {}
        """Of what was measured here, by step."""

    # -- asking ------------------------------------------------------------------------------------------------

    async def ask(
        self,
        phase: str,
        askings: Sequence[Asking],
        *,
        enough: int | None = None,
        patience: float = SLOW,
        substitutes: Sequence[Seat] = (),
    ) -> list[Contribution]:
        """What came of each step, in the order of `askings`; those that were asked before are not asked again.

        Args:
            enough: usable answers after which the rest are not waited for much longer. Left out: all are.
            patience: how much longer, as a multiple of the median time of those that have come.
            substitutes: who is asked in place of those that fail, while there are any.

        Raises:
            Fenced, Unavailable: the task's story could not be written; nothing more must be done.
        """
        known = self.story.contributions
        self._take(askings)
        asked = [a for a in askings if a.step not in known]
        if asked:
            new = tuple(a.plan for a in asked if a.step not in self.story.dispatched)
            for begin in range(0, len(new), MOST_STEPS):
                await self.story.tell(Dispatch(phase, new[begin : begin + MOST_STEPS]))
            await self._all(asked, enough, patience, [known[a.step] for a in askings if a.step in known])
        found = [known[a.step] for a in askings]
        await self._note_refused(phase, found)
        spare = [seat for seat in substitutes if seat.name not in {a.seat.name for a in askings}]
        lacking = (enough or len(found)) - sum(each.usable for each in found)
        for place, (asking, contribution) in enumerate(zip(askings, found, strict=True)):
            if spare and lacking > 0 and worth_another(contribution):
                seat = spare.pop(0)
                found[place] = await self._instead(phase, asking, contribution, seat)
                lacking -= found[place].usable
        return found

    async def _note_refused(self, phase: str, found: Sequence[Contribution]) -> None:
        """That a bound or the budget made a phase smaller than it was planned belongs to the story."""
        refused = [c.problem for c in found if c.problem and c.problem.code in (BudgetExceeded.code, NotAsked.code)]
        if refused:
            why = f"{len(refused)} of {len(found)} steps of {phase} were not done: {refused[0].detail}"
            change: Change = "shrunk" if refused[0].code == BudgetExceeded.code else "bounded"
            await self.decide(f"{phase}-refused", {"steps": len(refused)}, (why,), change=change)

    def _take(self, askings: Sequence[Asking]) -> None:
        """Count them, those that are known too: a later owner meets the bounds where the first one did."""
        for a in askings:
            if a.step not in self._taken:
                images = tuple(each.name for each in a.inputs)
                action = (a.seat.name, a.kind, a.prompt, images, a.history, a.json_schema, a.temperature)
                self._taken[a.step] = self.bounds.take(a.step, *action), self.bounds.used_up

    async def _instead(self, phase: str, asking: Asking, failed: Contribution, seat: Seat) -> Contribution:
        why = failed.problem.detail if failed.problem else "it answered nothing"
        step = f"{asking.step}-instead"
        await self.decide(
            f"{asking.step}-replaced",
            {"step": asking.step, "agent": asking.seat.name, "by": seat.name},
            (f"{seat.name!r} takes the place of {asking.seat.name!r}: {why}",),
            change="replaced",
            part=asking.part,
        )
        return (await self.ask(phase, [replace(asking, seat=seat, step=step)]))[0]

    async def _all(
        self, asked: Sequence[Asking], enough: int | None, patience: float, known: Sequence[Contribution]
    ) -> None:
        tasks = {asyncio.create_task(self._one(a), name=a.step): a for a in asked}
        usable, began, took = sum(c.usable for c in known), time.monotonic(), list[float]()
        pending: set[asyncio.Task[Contribution]] = set(tasks)
        # `asyncio.wait` would look at all of them for each that comes: at 4,000 that took six seconds.
        ended: asyncio.Queue[asyncio.Task[Contribution]] = asyncio.Queue()
        for task in tasks:
            task.add_done_callback(ended.put_nowait)
        # Of what a later owner finds enough of, nobody knows how long it took.
        wait_s = RECOVERED_WAIT_S if enough is not None and usable >= enough else None
        try:
            while pending:
                try:
                    task = await asyncio.wait_for(ended.get(), wait_s)
                except TimeoutError:
                    break
                pending.discard(task)
                if task.result().usable:  # raises what must end the run
                    usable += 1
                    took.append(time.monotonic() - began)
                if enough is not None and usable >= enough and took:
                    wait_s = max(LEAST_WAIT_S, patience * statistics.median(took))
            if pending:
                await self._leave(pending, [tasks[task] for task in pending])
        finally:
            for task in pending:
                task.cancel()
            if pending:
                await asyncio.wait(pending)

    async def _leave(self, pending: set[asyncio.Task[Contribution]], left: Sequence[Asking]) -> None:
        """Go on without the slow ones. It is written down, so that a later owner does so too."""
        for task in pending:
            task.cancel()
        await asyncio.wait(pending)
        await self.story.settled()
        problem = Problem.of(TooSlow("the others had answered long before"))
        # Who answered in that very moment counts.
        late = [a for a in left if a.step not in self.story.contributions]
        told = [self._told(self._failed(asking, problem)) for asking in late]
        await together(told)

    async def _told(self, contribution: Contribution) -> Contribution:
        await self.story.tell(contribution)
        return contribution

    async def _one(self, asking: Asking) -> Contribution:
        earlier, used_up = self._taken[asking.step]
        if used_up:
            why = f"the task may ask for {self.bounds.calls} steps, and has"
            return await self._told(self._failed(asking, Problem.of(NotAsked(why))))
        if earlier is not None and (same := self.story.contributions.get(earlier)) is not None:
            # The same question to the same agent: its answer is there, and nobody is asked or paid again.
            return await self._told(same.model_copy(update={**asking.place, "calls": ()}))
        try:
            answer = await self._ask(self._asked(asking), asking.seat.agent)
        except (Fenced, StorageFull):
            raise
        except DevSkyyError as error:
            return await self._told(self._failed(asking, Problem.of(error)))
        if answer.problem is not None and answer.problem.code == Cancelled.code:
            # Somebody stopped the work though the run was not: whoever carries the task asks again.
            raise Unavailable(f"step {asking.step!r} was stopped though nobody cancelled the task")
        return await self._told(await self._contribution(asking, answer))

    def _asked(self, asking: Asking) -> Ask:
        request = self.request
        return Ask(
            **terms_of(self.accepted),
            step=asking.step,
            seat=asking.seat.name if asking.seat.name != asking.seat.agent else None,
            prompt=asking.prompt,
            services=self._services.get(asking.seat.agent, ()),
            inputs=asking.inputs,
            history=asking.history,
            temperature=request.temperature if asking.temperature is None else asking.temperature,
            max_tokens=asking.max_tokens,
            json_schema=asking.json_schema,
            # Whoever follows the text sees each writer's, told apart by step; what is JSON between agents is no text.
            stream=request.stream and asking.aim is not None,
            deadline_at=self.deadline_at,
        )

    async def _contribution(self, asking: Asking, answer: Answer) -> Contribution:
        quality = None
        if asking.aim is not None and answer.text is not None and answer.problem is None:
            measured = await self.measure(asking.aim, answer.text, asking.sources, asking.json_schema)
            self.qualities[asking.step] = measured
            quality = measured.overall
        text = answer.text or ""
        if len(text) > LONG_TEXT:
            marks = await asyncio.to_thread(steering, text, self.request.prompt)
        else:
            marks = steering(text, self.request.prompt)
        return Contribution(
            **asking.place,
            text=answer.text,
            finish_reason=answer.finish_reason,
            quality=quality,
            remarks=() if asking.reviewed is None else said_of(answer.text, asking.reviewed),
            marks=marks,
            calls=answer.calls,
            problem=answer.problem,
        )

    @staticmethod
    def _failed(asking: Asking, problem: Problem) -> Contribution:
        return Contribution(**asking.place, problem=problem)

    async def host(self, seats: int) -> str | None:
        """See that specialists can be asked; or why they cannot."""
        try:
            async with asyncio.timeout(max(0.0, min(HOSTS_S, self.thrift.left_s))):
                await self._hosts(seats)
        except TimeoutError:
            return "their hosts did not start in time"
        except DevSkyyError as error:
            return str(error)
        return None

    # -- deciding ----------------------------------------------------------------------------------------------

    async def decide(
        self,
        name: str,
        value: Mapping[str, Any],
        reasons: Sequence[str],
        *,
        change: Change | None = None,
        part: str = "",
    ) -> dict[str, Any]:
        """What was decided under that name before; else `value`, written down first.

        Raises:
            Fenced, Unavailable: it could not be written.
        """
        before = self.story.decisions.get(name)
        if before is not None:
            return before.value
        decision = Decision(name=name, part=part, change=change, value=dict(value), reasons=tuple(reasons))
        await self.story.tell(decision)
        return decision.value

    # -- measuring ---------------------------------------------------------------------------------------------

    async def measure(
        self,
        prompt: str,
        text: str | None,
        inputs: Sequence[Input] = (),
        json_schema: dict[str, Any] | None = None,
    ) -> Quality:
        texts = [part.text_content() for part in inputs if part.kind != "image"]
        return await self.assessor.measure(prompt, texts, text, json_schema)


async def together(work: Sequence[Coroutine[Any, Any, Any]]) -> list[Any]:
    """All of it at once; the first failure stops the rest and is raised as itself."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        left = [task for task in tasks if not task.done()]
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)
