"""A task as OpenAI's clients read it: what both doors for text say of one."""

from typing import Any

from schemas.errors import DevSkyyError
from schemas.problem import Problem
from schemas.task import Task


def receipt_of(task: Task) -> dict[str, Any]:
    """What stands under `devskyy`."""
    return {
        "task_id": task.task_id,
        "tier": task.tier,
        "shape": task.shape,
        "receipt": task.receipt.model_dump(mode="json") if task.receipt else None,
    }


def tokens_of(task: Task) -> tuple[int, int] | None:
    """Tokens of the question and of the answer as the receipt has them; None where it does not have both."""
    receipt = task.receipt
    if receipt is None or receipt.prompt_tokens is None or receipt.completion_tokens is None:
        return None
    return receipt.prompt_tokens, receipt.completion_tokens


def headers_of(task: Task) -> dict[str, str]:
    headers = {"Devskyy-Task": task.task_id}
    if task.receipt is not None and task.receipt.cost_usd is not None:
        headers["Devskyy-Cost-Usd"] = f"{task.receipt.cost_usd:.9f}"
    return headers


def problem_of(task: Task) -> Problem | None:
    """Why there is no answer; None where there is one."""
    if task.status == "completed":
        return None
    return task.error or Problem.of(DevSkyyError(f"task {task.task_id} is still {task.status}"))


def contradiction(task: Task) -> Problem:
    """What is told where a text that was begun is not how the answer begins, and cannot be taken back."""
    return Problem.of(BegunAnew(task.task_id))


def worth_repeating(task: Task, problem: Problem, *, keyed: bool) -> bool:
    """Whether sending the same again may bring an answer, and nothing is paid twice by it.

    A repeat under the same key finds this very task: of use only while it goes on.
    """
    if keyed or not task.ended:
        return keyed and not task.ended
    spent = task.receipt is None or any(call.cost_usd != 0 and not call.replayed for call in task.receipt.calls)
    return problem.retryable and not spent


class BegunAnew(DevSkyyError):
    """A text broke off after its beginning was told, and was written anew with other words."""

    code = "begun_anew"

    def __init__(self, task_id: str) -> None:
        super().__init__(task_id)
        self.task_id = task_id

    def __str__(self) -> str:
        return (
            f"the text so far is not the answer: it broke off and was written anew. "
            f"Task {self.task_id} has the answer, at /api/v1/tasks/{self.task_id}"
        )
