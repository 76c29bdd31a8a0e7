"""Whether a prompt is a closed question, one with a short right answer, and of which kind."""

import re
from typing import Literal

from actors.quality import phrases
from actors.quality.quantity import plain

QuestionKind = Literal["open", "yes or no", "number", "short"]
LETTERS = "A-J"
"""Of choices, as in a class of a regular expression."""
_WRITING = re.compile(
    r"\b(?:write|compose|draft|rewrite|paraphrase|summari[sz]e|translate|brainstorm|essay|poem|story|letter|e-?mail|"
    r"blog|article|speech|slogan|title|headline|tweet|names? for|ideas?|suggest\w*|recommend\w*|invent|imagine)\b",
    re.I,
)
_OPEN = re.compile(
    r"\b(?:explain|describe|discuss|tell|why|compare|contrast|analy[sz]e|design|create|generate|outline|advice|list|"
    r"how (?:do|does|did|can|could|should|would|to|is|are|come)|what (?:are|do you think|makes?)|pros and cons)\b",
    re.I,
)
_NUMBER = re.compile(
    r"\b(?:how (?:many|much|far|old|tall|long|fast|big|large|heavy|high|deep|wide)|calculate|compute|evaluate|solve|"
    r"work out|what(?:'s| is| was| are| were| will be| would be) (?:\w+ ){0,3}(?:number|amount|sum|product|total|value|"
    r"probability|percentage|percent|area|perimeter|volume|average|mean|median|difference|quotient|remainder|price|"
    r"cost|profit|speed|distance|age|length|width|height|weights?|ratio|result)|"
    r"(?:what is|what's|find) [-(]?\d|what percent\w*)\b",
    re.I,
)
_CLOSED = re.compile(
    r"\b(?:what|which|who|whom|whose|when|where|name the|identify|classify|true or false|is it|fill in|complete the|"
    r"answer with|respond with|reply with|in one word|one word|convert|capital of)\b",
    re.I,
)
_YES_NO = re.compile(
    r"(?:^|[.!?:\n]\s*|, )(?:is|are|was|were|do|does|did|can|could|will|would|should|has|have|had|may|must)"
    r"(?: (?!or\b)[^\s?]{1,40}){2,60}\?",
    re.I,
)
_OPTION = re.compile(rf"^[ \t]*[*_]{{0,2}}\(?([{LETTERS}])[).:][*_]{{0,2}}[ \t]*(\S[^\n]*)$", re.M)
_OPTION_INLINE = re.compile(rf"\(([{LETTERS}])\)[ \t]*([^()\n]{{1,200}})")


def options(order: str) -> dict[str, str]:
    """The choices of a prompt, by letter; of several questions those of the last one."""
    for pattern in (_OPTION, _OPTION_INLINE):
        found: dict[str, str] = {}
        for letter, said in pattern.findall(order):
            if letter == "A":
                found = {}
            if ord(letter) - ord("A") == len(found):
                found[letter] = plain(said)
        if len(found) >= 2:
            return found
    return {}


def kind_of(order: str) -> QuestionKind:
    """Of the part of a prompt that gives orders. Whoever is to write something is asked an open question."""
    if _WRITING.search(order):
        return "open"
    if _NUMBER.search(order):
        return "number"
    if _YES_NO.search(order) or phrases.YES_NO.search(order):
        return "yes or no"
    if _OPEN.search(order) or not _CLOSED.search(order):
        return "open"
    return "short"
