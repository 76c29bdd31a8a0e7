"""A language model's judgement of an answer, where a bar was set, one is capable, and the budget allows."""

from collections.abc import Callable, Collection

from actors.coordinator.run import Run
from actors.coordinator.shapes.part import Outcome, Part
from actors.coordinator.story import Dispatch
from actors.coordinator.terms import terms_of
from actors.quality import combine
from actors.quality.rubric import Circumstances, Completes, ModelJudge
from schemas.errors import DevSkyyError, Fenced, StorageFull
from schemas.problem import Problem
from schemas.quality import Quality
from schemas.receipt import JUDGE
from schemas.team import Contribution, Step

Judges = Callable[[Collection[str]], tuple[str, ...]]
"""Services that may judge what these wrote; none where nobody is capable."""


def nobody(_: Collection[str]) -> tuple[str, ...]:
    return ()


class Bench:
    """Asks a judge once for each answer, and remembers what it said in the task's story."""

    def __init__(self, judges: Judges, complete: Completes) -> None:
        self._judges, self._complete = judges, complete

    async def judged(self, run: Run, part: Part, outcome: Outcome, checked: Quality) -> Quality:
        """What was measured, and beside it what a judge says; as measured where there is none to ask.

        Raises:
            Fenced, Unavailable: the story could not be written.
        """
        wrote = run.story.contributions.get(outcome.step)
        services = self._judges({call.service for call in wrote.calls} if wrote else ())
        step = part.step(f"judge-{outcome.step}")[:128]
        said = run.story.contributions.get(step)
        if said is None:
            if not services or run.thrift.why_not(step, step) is not None:
                return checked
            said = await self._ask(run, part, outcome, checked, step, services)
        if not said.usable:
            return checked
        return combine(checked, Quality.model_validate_json(said.text or ""))

    async def _ask(
        self, run: Run, part: Part, outcome: Outcome, checked: Quality, step: str, services: tuple[str, ...]
    ) -> Contribution:
        plan = Step(step=step, agent=JUDGE, kind="judgement", about=(outcome.step,), part=part.name)
        if step not in run.story.dispatched:
            await run.story.tell(Dispatch(part.step("judgement"), (plan,)))
        circumstances = Circumstances(
            **terms_of(run.accepted), step=step, services=services, deadline_at=run.deadline_at
        )
        judge = ModelJudge(self._complete, circumstances)
        texts = [item.text_content() for item in part.inputs if item.kind != "image"]
        text, problem, overall = None, None, None
        try:
            found = await judge.judge(part.prompt, texts, outcome.text, checked)
            text, overall = found.model_dump_json(), found.overall
        except (Fenced, StorageFull):
            raise
        except DevSkyyError as error:
            problem = Problem.of(error)
        said = Contribution(
            step=step,
            agent=JUDGE,
            kind="judgement",
            part=part.name,
            text=text,
            quality=overall,
            calls=judge.calls,
            problem=problem,
        )
        await run.story.tell(said)
        return said
