"""How many things a line asks for: list items, clauses that begin with an order, questions, and stated numbers."""

import re

from actors.coordinator.classifier.lexicon import IMPERATIVES, LEAD_INS, MAKING, NUMBERS, UNITS

_IMPERATIVES, _MAKING, _LEAD_INS, _UNITS = (
    frozenset(words.split()) for words in (IMPERATIVES, MAKING, LEAD_INS, UNITS)
)
_MOST_OF_ONE_KIND = 20
"""A hundred slogans are more work than ten, but no harder."""

WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)?(?:\+\+|#)?|\d+")
_ITEM = re.compile(r"\s*(?:[-*\u2022\u2013]|\(?\d{1,3}[.)]|\(?[a-zA-Z][.)])\s+(?=\S)")
# The look-behind lets a long run of dots be tried once, not from each of its dots.
_SENTENCE = re.compile(r"(?<![.!?;:])[.!?;:]+(?=\s|$)|[\uff1f\u3002\uff01]")
_CLAUSE = re.compile(r",|\band\b|\bthen\b|\bplus\b|\bas well as\b", re.IGNORECASE)


def words_of(text: str) -> list[str]:
    """Its words and numbers, folded to lower case."""
    return [word.replace("\u2019", "'") for word in WORD.findall(text.casefold())]


def things_asked(line: str) -> int:
    item = _ITEM.match(line)
    text = line[item.end() :] if item else line
    asked, start, listing = 0, 0, False
    for mark in _SENTENCE.finditer(text):
        sentence = text[start : mark.start()]
        asked += _of_sentence(sentence, "?" in mark[0] or "\uff1f" in mark[0], listing)
        start, listing = mark.end(), mark[0] == ":" and _makes(sentence)
    asked += _of_sentence(text[start:], False, listing)
    return max(asked, 1 if item else 0)


def _makes(sentence: str) -> bool:
    """Whether a list of what to make may follow its colon."""
    order = next((word for word in words_of(sentence) if word not in _LEAD_INS), "")
    return order in _MAKING


def _of_sentence(sentence: str, question: bool, listing: bool) -> int:
    ordered, asked = False, 0
    clauses = _CLAUSE.split(sentence)
    # "Prepare the launch: market research, a plan, texts and a budget" asks for each of them.
    listing = listing and len(clauses) >= 3
    for clause in clauses:
        words = words_of(clause)
        body = next((place for place, word in enumerate(words) if word not in _LEAD_INS), len(words))
        rest = words[body:]
        if len(rest) >= 2 and rest[0] in _IMPERATIVES:
            ordered = True
            asked += _stated_number(rest[1:])
        elif ordered and len(rest) >= 2 and (rest[0] in ("a", "an") or _number(rest[0]) > 1):
            # "Write a slogan, an email and three posts": the order goes for each of them.
            asked += _stated_number(rest)
        elif listing and rest:
            asked += 1
    return max(asked, 1 if question and len(words_of(sentence)) >= 2 else 0)


def _stated_number(words: list[str]) -> int:
    """3 for "three short poems"; 1 where no number of things is stated."""
    for place, word in enumerate(words):
        number = _number(word)
        if number > 1:
            named = words[place + 1 : place + 4]
            if any(unit in _UNITS for unit in named):
                continue
            if any(noun.endswith("s") and len(noun) > 3 for noun in named):
                return min(number, _MOST_OF_ONE_KIND)
    return 1


def _number(word: str) -> int:
    # Four digits are a year, not a count.
    return int(word) if word.isdecimal() and len(word) <= 3 else NUMBERS.get(word, 1)
