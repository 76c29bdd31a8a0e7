"""What a tool is given. The descriptions are read by a coding assistant, before every call."""

from datetime import date
from typing import Annotated, Literal

from pydantic import Field

from schemas.costs import CostKey
from schemas.message import Strict
from schemas.task import DEFAULT_TIMEOUT_S, Input, TaskRequest, Tier

WAIT_S = 50.0
"""How long an answer is waited for if nothing is said: many clients give a tool a minute."""
MAX_WAIT_S = 600.0

TaskId = Annotated[str, Field(min_length=1, max_length=128, description="The id that `delegate` returned.")]
WaitS = Annotated[float, Field(ge=0, le=MAX_WAIT_S, allow_inf_nan=False)]


class GivenText(Strict):
    """A text to work on."""

    name: str = Field(min_length=1, max_length=255, description="A file name, such as `parser.py`.")
    text: str
    kind: Literal["text", "code", "data"] = "text"


class Delegate(Strict):
    prompt: str = Field(
        min_length=1, description="What is to be done, complete in itself: nothing of your conversation is seen."
    )
    files: tuple[str, ...] = Field(
        default=(),
        max_length=100,
        description="Paths under the directory this server runs in. The server reads them itself, so their text costs "
        "you no tokens: prefer this to `inputs`. Hidden files are refused.",
    )
    inputs: tuple[GivenText, ...] = Field(
        default=(), max_length=100, description="Texts to work on that are in no file, each with a name."
    )
    tier: Tier | None = Field(
        default=None,
        description="How large a team: simple is one agent, moderate several drafts, complex a team that reviews, mega "
        "one that divides the work. Left out, the platform chooses by difficulty.",
    )
    max_cost_usd: float | None = Field(default=None, ge=0, allow_inf_nan=False, description="Spend no more than this.")
    min_quality: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="The overall quality to reach, 0 to 1. An answer under it is refined, which costs more.",
    )
    capabilities: tuple[str, ...] = Field(
        default=(),
        max_length=32,
        description="What it takes, such as `code` or `translation`; `list` says which there are.",
    )
    timeout_s: float = Field(
        default=DEFAULT_TIMEOUT_S, gt=0, le=7 * 86400, allow_inf_nan=False, description="Seconds until the task fails."
    )
    wait_s: WaitS = Field(
        default=WAIT_S,
        description="Seconds to wait for the answer. A task that takes longer goes on; fetch it with `result`.",
    )

    def request(self, files: tuple[Input, ...]) -> TaskRequest:
        """The task that is asked for.

        Raises:
            ValidationError: a field breaks one of a task's rules.
        """
        texts = tuple(Input(kind=each.kind, name=each.name, text=each.text) for each in self.inputs)
        said = self.model_dump(include={"prompt", "tier", "max_cost_usd", "min_quality", "capabilities", "timeout_s"})
        return TaskRequest.model_validate({**said, "inputs": (*files, *texts)})


class Named(Strict):
    task_id: TaskId


class Await(Named):
    wait_s: WaitS = Field(default=WAIT_S, description="Seconds to wait for it, if it has not ended yet; 0: not at all.")


class Look(Strict):
    unavailable: bool = Field(default=False, description="Whether to list also what cannot serve now, and why.")


class Spent(Strict):
    by: CostKey = Field(default="day", description="What each row is of.")
    since: date | None = Field(default=None, description="The first day, in UTC.")
    until: date | None = Field(default=None, description="The last day, in UTC.")
