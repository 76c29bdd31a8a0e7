"""Small tasks whose right answer can be seen without a model: a blank to fill, a mood to name, a list to keep whole."""

import re

from actors.quality.finding import Finding
from actors.quality.text import Reading, words_of

_BLANK = re.compile(
    r"([^\n.?!:\"\u201c]{0,120}?)[ \t]*(?:_{2,}|\.{4,}|\[blank\]|\(blank\))[ \t]*([^\n\"\u201d]{0,120})"
)
_MOOD = re.compile(r"\b(?:sentiment|positive or negative|negative or positive|positive, negative|polarity)\b", re.I)
_GOOD = frozenset(
    [
        "good",
        "great",
        "excellent",
        "amazing",
        "wonderful",
        "love",
        "loved",
        "loves",
        "best",
        "happy",
        "grateful",
        "thankful",
        "enjoy",
        "enjoyed",
        "fantastic",
        "perfect",
        "beautiful",
        "nice",
        "helpful",
        "delicious",
        "awesome",
        "brilliant",
        "superb",
        "pleased",
        "glad",
        "recommend",
        "impressed",
        "friendly",
        "favorite",
        "fun",
        "delightful",
        "outstanding",
        "incredible",
        "excited",
        "satisfied",
        "comfortable",
        "reliable",
        "support",
        "pleasant",
        "win",
        "won",
        "success",
    ]
)
_BAD = frozenset(
    [
        "bad",
        "terrible",
        "awful",
        "horrible",
        "hate",
        "hated",
        "worst",
        "sad",
        "poor",
        "disappointing",
        "disappointed",
        "disappointment",
        "boring",
        "useless",
        "slow",
        "broken",
        "rude",
        "dirty",
        "waste",
        "angry",
        "annoying",
        "annoyed",
        "ugly",
        "fail",
        "failed",
        "failure",
        "problem",
        "problems",
        "expensive",
        "cold",
        "unhappy",
        "disgusting",
        "pathetic",
        "regret",
        "mess",
        "overpriced",
        "unfriendly",
        "uncomfortable",
        "wrong",
        "pain",
        "lost",
        "lose",
        "worse",
        "upset",
        "unable",
    ]
)
_NEGATIONS = frozenset(
    [
        "not",
        "no",
        "never",
        "n't",
        "without",
        "hardly",
        "don't",
        "didn't",
        "isn't",
        "wasn't",
        "can't",
        "couldn't",
        "doesn't",
        "won't",
    ]
)
_SPEAKER = re.compile(
    r"^(?:Human|User|Assistant|Instruction|Input|Output|Question|Prompt|###)[ \t]*\d{0,2}[ \t]*:", re.M
)
_EVASION = re.compile(
    r"\b(?:(?:does|do) not (?:require|need) (?:any )?(?:further )?(?:clarification|explanation)|"
    r"no (?:further )?(?:explanation|"
    r"comment) (?:is )?(?:needed|necessary)|I (?:do not|don't) (?:know|understand)|not sure what|"
    r"cannot be (?:determined|answered)|"
    r"(?:need|provide) more (?:information|context|details))\b",
    re.I,
)
_DOING = re.compile(
    r"\b(?:would (?:say|introduce myself|write|respond) (?:something like|as follows|by)|"
    r"I would introduce myself|could (?:write|say) something like)\b",
    re.I,
)


def wrong(reading: Reading, prompt: str) -> list[Finding]:
    return [*_blank(reading, prompt), *_mood(reading, prompt), *_roles(reading, prompt), *_evasions(reading)]


def _blank(reading: Reading, prompt: str) -> list[Finding]:
    if not any(mark in prompt[:4000] for mark in ("__", "....", "[blank]", "(blank)")):
        return []
    found = list(_BLANK.finditer(prompt[:4000]))
    if len(found) != 1 or "|" in prompt:
        return []
    before, after = (words_of(found[0][group])[-4 if group == 1 else 0 :][:4] for group in (1, 2))
    said = " ".join(reading.words)
    if reading.word_count <= 4:
        return []  # only what belongs into the blank
    if "_" * 2 in reading.shown:
        return [Finding("blank", "completeness", 0.6, "the blank is still there", "fill it")]
    first = " ".join(before)
    if first and first in said:
        rest = said[said.index(first) + len(first) :].split()
        tail = " ".join(after)
        ends_here = not after and re.match(r"\s*[.!?]", found[0][2]) is not None
        if (tail and tail not in " ".join(rest)) or (ends_here and len(rest) > 4):
            return [
                Finding(
                    "blank",
                    "completeness",
                    0.35,
                    "the sentence does not go on as given after the blank",
                    "keep the sentence, fill the blank",
                )
            ]
    return []


def mood_of(text: str) -> int:
    """1 for a glad text, -1 for a bitter one, 0 where its words do not tell."""
    words = words_of(text[:20_000])
    mood = 0
    for at, word in enumerate(words):
        sign = (word in _GOOD) - (word in _BAD)
        if sign and any(before in _NEGATIONS for before in words[max(0, at - 3) : at]):
            sign = -sign
        mood += sign
    return (mood > 0) - (mood < 0)


def _mood(reading: Reading, prompt: str) -> list[Finding]:
    asked = _MOOD.search(prompt)
    if asked is None or reading.word_count > 60:
        return []
    right = mood_of(_MOOD.sub(" ", re.sub(r"\b(?:positive|negative)\b", " ", prompt)))
    said = re.findall(r"\b(not )?(positive|negative)\b", reading.prose.lower())
    if not right or len({word for _, word in said}) != 1:
        return []
    claimed = (1 if said[0][1] == "positive" else -1) * (-1 if said[0][0] else 1)
    if claimed == right:
        return []
    words = "glad" if right > 0 else "bitter"
    return [
        Finding(
            "mood",
            "accuracy",
            0.6,
            f"it says {said[0][1]!r} of a text whose words are {words}",
            "read the text's words again",
        )
    ]


def _roles(reading: Reading, prompt: str) -> list[Finding]:
    findings = []
    match = _SPEAKER.search(reading.prose)
    if match and match[0].split(":")[0].strip().lower() not in prompt.lower():
        place = reading.place(*match.span())
        findings.append(
            Finding("roles", "clarity", 0.35, f"it speaks for others: {match[0]!r}", "speak for yourself alone", place)
        )
    if (match := _DOING.search(reading.prose[:600])) and not re.search(
        r"\bwould\b|\bhow (?:to|do|can)\b", prompt, re.I
    ):
        place = reading.place(*match.span())
        findings.append(Finding("roles", "completeness", 0.3, "it tells what it would say", "say it", place))
    return findings


def _evasions(reading: Reading) -> list[Finding]:
    match = _EVASION.search(reading.prose[:1500])
    if match is None or len(reading.sentences) > 5:
        return []
    return [
        Finding("evasion", "completeness", 0.4, "it evades the question", "answer it", reading.place(*match.span()))
    ]
