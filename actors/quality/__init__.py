"""How good an answer is, seen without asking a model: requirements of the prompt, checks, embeddings, five metrics."""

from actors.quality.answer import Agreement, agreement, final_answer
from actors.quality.finding import METRICS, Finding
from actors.quality.judge import Judge
from actors.quality.relevance import Embed
from actors.quality.requirements import Requirement, extract
from actors.quality.score import Comparison, assess, assess_task, compare, examine, overall
from actors.quality.steering import fence, steering
from actors.quality.vectors import wordllama_embed

__all__ = [
    "METRICS",
    "Agreement",
    "Comparison",
    "Embed",
    "Finding",
    "Judge",
    "Requirement",
    "agreement",
    "assess",
    "assess_task",
    "compare",
    "examine",
    "extract",
    "fence",
    "final_answer",
    "overall",
    "steering",
    "wordllama_embed",
]
