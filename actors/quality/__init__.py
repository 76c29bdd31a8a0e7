"""How good an answer is, on five metrics: requirements of the prompt, checks, embeddings, and a model as judge."""

from actors.quality.answer import Agreement, agreement, final_answer
from actors.quality.combination import combine
from actors.quality.finding import METRICS, Finding
from actors.quality.judge import Judge
from actors.quality.judges import judges
from actors.quality.relevance import Embed
from actors.quality.requirements import Requirement, extract
from actors.quality.rubric import Circumstances, ModelJudge, Preference
from actors.quality.score import Comparison, assess, assess_task, compare, examine, overall
from actors.quality.steering import fence, steering
from actors.quality.vectors import wordllama_embed

__all__ = [
    "METRICS",
    "Agreement",
    "Circumstances",
    "Comparison",
    "Embed",
    "Finding",
    "Judge",
    "ModelJudge",
    "Preference",
    "Requirement",
    "agreement",
    "assess",
    "assess_task",
    "combine",
    "compare",
    "examine",
    "extract",
    "fence",
    "final_answer",
    "judges",
    "overall",
    "steering",
    "wordllama_embed",
]
