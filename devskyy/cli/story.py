"""The whole story of a team, for reading: who said what, what reviewers found, how it was voted, what was decided."""

from collections.abc import Iterable, Iterator

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from devskyy.cli import tree, words
from devskyy.cli.quality import findings
from devskyy.cli.render import line, safe
from schemas.progress import Part, Phase, Seat, TeamView
from schemas.quality import Quality
from schemas.team import Decision, Remark

MOST_SEATS = 12
"""Of a phase, told one by one; of more than these only what they found is told, the worst first."""
MOST_REMARKS = 8
MOST_LINES, MOST_TEXT = 4, 320
"""Of a text that is shortened."""
STYLES = {"high": "bold red", "medium": "yellow", "low": "dim"}
_RANK = {"high": 0, "medium": 1, "low": 2}


class Story:
    """
    Args:
        full: every seat, and every text and remark to its end.
    """

    def __init__(self, view: TeamView, *, full: bool) -> None:
        self._view, self._full = view, full
        self._agents = {seat.step.step: seat.step.agent for seat in _seats(view.whole)}

    def told(self) -> Iterator[RenderableType]:
        assert self._view.at is not None
        yield Text(line(f"team: {tree.totals(self._view, self._view.at)}"), style="bold")
        yield from self._part(self._view.whole, 2)

    def _part(self, part: Part, indent: int) -> Iterator[RenderableType]:
        for item in part.items:
            match item:
                case Phase():
                    yield from self._phase(item, indent)
                case Part():
                    yield _at(indent, Text(line(tree.part_line(item)), style="bold"))
                    yield from self._part(item, indent + 2)
                case _:
                    yield from self._decision(item, indent)

    def _decision(self, decision: Decision, indent: int) -> Iterator[RenderableType]:
        yield _at(indent, tree.decided(decision))
        raw = decision.value.get("parts")
        for node in raw if isinstance(raw, list) else ():
            if isinstance(node, dict):
                told = f"{node.get('id')}: {node.get('title')}, by {node.get('owner')}: {node.get('work')}"
                yield _at(indent + 2, Text(line(told, 10_000 if self._full else 200)))

    # -- a phase -----------------------------------------------------------------------------------------------

    def _phase(self, phase: Phase, indent: int) -> Iterator[RenderableType]:
        yield _at(indent, Text(line(f"{phase.name}: {words.counts(phase.counts)}"), style="bold"))
        if self._full or len(phase.seats) <= MOST_SEATS:
            for seat in phase.seats:
                yield from self._seat(seat, indent + 2)
            return
        for reason in words.reasons(phase.seats):
            yield _at(indent + 2, Text(line(reason)))
        found = [(seat, remark) for seat in phase.seats for _, remark in self._remarks(seat)]
        found.sort(key=lambda each: _RANK[each[1].severity])
        for seat, remark in found[:MOST_REMARKS]:
            about = f"{seat.step.agent}, about {seat.step.part}" if seat.step.part else seat.step.agent
            yield _at(indent + 2, self._remark(about, remark))
        if len(found) > MOST_REMARKS:
            yield _at(indent + 2, Text(f"and {len(found) - MOST_REMARKS:,} remarks more; --full tells all", "dim"))

    def _seat(self, seat: Seat, indent: int) -> Iterator[RenderableType]:
        head = tree.seat(seat, self._view.at or seat.asked_at, most=1000)
        if seat.said is not None and seat.said.to:
            head.append(line(f", to {words.named(seat.said.to)}"), "dim")
        yield _at(indent, head)
        if seat.said is None or not seat.said.text:
            return
        remarks = self._remarks(seat)
        verdict = self._verdict(seat)
        for about, remark in remarks:
            yield _at(indent + 4, self._remark(about, remark))
        if verdict:
            yield _at(indent + 4, Text(line(verdict)))
        if self._full or not (remarks or verdict):
            yield _at(indent + 4, Text(self._shortened(seat.said.text)))

    def _remark(self, about: str, remark: Remark) -> Text:
        place = f' at "{remark.place}"' if remark.place else ""
        proposal = f" -> {remark.proposal}" if remark.proposal else ""
        told = f"{about + place}: {remark.problem}{proposal}" if about or place else f"{remark.problem}{proposal}"
        return Text.assemble(
            (f"{remark.severity}  ", STYLES[remark.severity]), line(told, 10_000 if self._full else 400)
        )

    def _shortened(self, text: str) -> str:
        whole = safe(text).strip()
        if self._full:
            return whole
        told = "\n".join(whole.splitlines()[:MOST_LINES])[:MOST_TEXT].rstrip()
        left = len(whole) - len(told)
        return f"{told} … ({left:,} characters more)" if left else told

    # -- what others' words hold -------------------------------------------------------------------------------

    def _remarks(self, seat: Seat) -> list[tuple[str, Remark]]:
        """What a reviewer or specialist found, each with whom or what it is about."""
        said = seat.said
        if said is None:
            return []
        if said.remarks:
            return [("", remark) for remark in said.remarks]
        from actors.coordinator.remarks import remarks_of, review_of  # reads with numpy: 0.3 s

        match said.kind:
            case "review":
                review = review_of(said.text, self._about(seat), 100)
                found = review.remarks.items() if review is not None else ()
                return [(about, remark) for about, remarks in found for remark in remarks]
            case "optimisation":
                return [("", remark) for remark in remarks_of(said.text, 100) or ()]
            case _:
                return []

    def _verdict(self, seat: Seat) -> str:
        """What a text of a form comes to: whom a reviewer thinks best, what a voter chose and why, how many parts."""
        said = seat.said
        if said is None or said.kind not in ("review", "optimisation", "plan"):
            return ""
        from actors.coordinator.remarks import choice_of, remarks_of, review_of
        from actors.quality.form import NotJson, json_of

        if said.kind == "optimisation":
            return "found nothing to change" if remarks_of(said.text, 1) == () else ""
        if said.kind == "plan":
            try:
                return words.plural(len(json_of(said.text or "")["parts"]), "part")
            except (NotJson, KeyError, TypeError):
                return ""
        positions = [f"P{place}" for place in range(1, len(seat.step.about) + 1)]
        if (choice := choice_of(said.text, positions)) is not None:
            chosen = self._about(seat)[positions.index(choice[0])]
            return f"votes for the answer of {chosen}" + (f": {choice[1]}" if choice[1] else "")
        review = review_of(said.text, self._about(seat), 100)
        if review is None:
            return ""
        none = "" if review.remarks else "found nothing to change; "
        return none + (f"the best is that of {review.best}" if review.best else "")

    def _about(self, seat: Seat) -> list[str]:
        """The agents whose answers it was shown, in the order of its steps."""
        return [self._agents.get(step, step) for step in seat.step.about]


def quality(found: Quality, *, full: bool) -> Iterator[RenderableType]:
    """What the measured quality rests on."""
    for heading, lines in findings(found, full=full):
        yield Text(line(heading), style="bold")
        for told in lines:
            yield _at(2, Text(line(told, 10_000 if full else 400)))


def _seats(part: Part) -> Iterable[Seat]:
    for item in part.items:
        match item:
            case Phase():
                yield from item.seats
            case Part():
                yield from _seats(item)
            case _:
                pass


def _at(indent: int, told: RenderableType) -> RenderableType:
    return Padding(told, (0, 0, 0, indent), expand=False)
