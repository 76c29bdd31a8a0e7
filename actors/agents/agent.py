"""A model agent's trade: a role, a prompt, an order of services, one step of a task."""

import hashlib
from collections.abc import Awaitable, Callable

from schemas.agent import AgentSpec, Answer, Ask
from schemas.completion import ChatMessage, Complete, Completion, ImagePart
from schemas.task import Input, Turn

Completes = Callable[[Complete], Awaitable[Completion]]


class ModelAgent:
    """Knows neither Ray nor NATS, so a test needs neither."""

    def __init__(self, name: str, spec: AgentSpec, order: tuple[str, ...], complete: Completes) -> None:
        self.name, self._spec, self._order, self._complete = name, spec, order, complete

    async def handle(self, ask: Ask) -> Answer:
        """Do one step. A failure comes back as a problem beside what was spent, never as silence."""
        seat = ask.seat or self.name
        system = ChatMessage(role="system", content=self._spec.prompt)
        said = (*conversation(ask.history), question(ask.prompt, ask.inputs), *conversation(ask.later))
        completion = await self._complete(
            Complete(
                tenant=ask.tenant,
                task_id=ask.task_id,
                step=ask.step,
                agent=seat,
                services=ask.services or self._order,
                messages=(system, *said),
                temperature=self._spec.temperature if ask.temperature is None else ask.temperature,
                max_tokens=ask.max_tokens or self._spec.max_tokens,
                json_schema=ask.json_schema,
                sampling=ask.sampling,
                tools=ask.tools,
                tool_choice=ask.tool_choice,
                parallel_tool_calls=ask.parallel_tool_calls,
                stream=ask.stream,
                root=ask.root,
                key=ask.key,
                key_budget=ask.key_budget,
                workflow=ask.workflow,
                workflow_budget=ask.workflow_budget,
                max_cost_usd=ask.max_cost_usd,
                max_total_tokens=ask.max_total_tokens,
                cache_s=ask.cache_s,
                replay=ask.replay,
                deadline_at=ask.deadline_at,
            )
        )
        text = completion.text.strip() if completion.text is not None else None
        return Answer(
            agent=seat,
            step=ask.step,
            text=text,
            tool_calls=completion.tool_calls,
            finish_reason=completion.finish_reason,
            calls=completion.calls,
            problem=completion.problem,
        )


def question(prompt: str, inputs: tuple[Input, ...]) -> ChatMessage:
    """What is asked now, with the inputs in it."""
    return ChatMessage(role="user", content=_with_inputs(prompt, inputs), images=_images(inputs))


def conversation(history: tuple[Turn, ...]) -> tuple[ChatMessage, ...]:
    """What was said before, or after."""
    return tuple(
        ChatMessage(
            role=turn.role,
            content=turn.content,
            images=_images(turn.images),
            tool_calls=turn.tool_calls,
            tool_call_id=turn.tool_call_id,
        )
        for turn in history
    )


def _with_inputs(prompt: str, inputs: tuple[Input, ...]) -> str:
    """The prompt, then each text input under its name.

    Fenced with a mark made from its content, which the content therefore cannot hold: no input can end its own fence
    and go on as if it were the prompt. The mark is no random one, because a repeated step must ask the same.
    """
    parts = [prompt]
    for item in inputs:
        if item.kind != "image":
            text = item.text_content()
            mark = hashlib.sha256(f"{item.name}\0{text}".encode()).hexdigest()[:12]
            name = " ".join(item.name.split())
            parts.append(f"--- {item.kind} input {mark}: {name} ({item.media_type}) ---\n{text}\n--- end of {mark} ---")
    return "\n\n".join(parts)


def _images(inputs: tuple[Input, ...]) -> tuple[ImagePart, ...]:
    return tuple(ImagePart(media_type=i.media_type, base64=i.base64) for i in inputs if i.kind == "image" and i.base64)
