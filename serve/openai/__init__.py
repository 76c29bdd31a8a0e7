"""OpenAI's doors: chat completions, responses, models."""

from serve.openai.chat import chat_completions
from serve.openai.chat_task import task_of
from serve.openai.chat_wire import ChatRequest
from serve.openai.models import SERVICE, UnknownModel
from serve.openai.responses import create_response
from serve.openai.router import router
from serve.openai.turns import IMAGE_ONLY

__all__ = [
    "IMAGE_ONLY",
    "SERVICE",
    "ChatRequest",
    "UnknownModel",
    "chat_completions",
    "create_response",
    "router",
    "task_of",
]
