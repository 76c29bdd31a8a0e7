"""Talk in place of an answer: refusals, flattery, filler."""

import re

from actors.quality.finding import Finding
from actors.quality.text import Reading

_REFUSAL = re.compile(
    r"\b(?:I(?:'m| am) (?:very |so |really )?(?:sorry|afraid)[^.\n]{0,60}(?:can(?:'t|not)|unable|not able|won't)|"
    r"I (?:can(?:'t|not)|am unable to|am not able to|won't|will not|must decline to) (?:help|assist|answer|provide|"
    r"fulfil|comply|do that|complete|generate|write|create|give|engage|support|discuss)|"
    r"(?:it is|it's|that is|that's) not (?:possible|appropriate) (?:for me )?to|"
    r"as an? (?:AI|language model|AI language model)[^.\n]{0,80}(?:can(?:'t|not)|don't|do not|unable|"
    r"not able|no (?:access|ability)))",
    re.I,
)
_FLATTERY = re.compile(
    r"\b(?:(?:what an?|such an?|this is an?|that is an?|that's an?|you(?:'ve| have) asked an?) (?:\w+ ){0,3}"
    r"(?:question|request|prompt|idea|task|point)|great question|excellent question|good question|wonderful question|"
    r"fantastic question|you(?:'re| are) (?:clearly |truly |obviously |such |so |really |absolutely |very |an? ){0,3}"
    r"(?:brilliant|amazing|wonderful|smart|insightful|talented|incredible|intelligent|genius|thoughtful|right to ask)|"
    r"your (?:\w+ ){0,2}(?:brilliance|insight|intelligence|curiosity|thoughtfulness|creativity|"
    r"expertise|wisdom|question) "
    r"(?:is|are|shows|really|truly|never)|I(?:'m| am) (?:so |truly |deeply |really )*(?:impressed|"
    r"honou?red|delighted|thrilled)|"
    r"thank you (?:so much )?for (?:asking|your|this|sharing)|I hope (?:this|that|it) (?:helps|"
    r"answers)|it(?:'s| is) (?:an? |my )?"
    r"(?:absolute |great |true )*(?:honou?r|pleasure|privilege|delight)|(?:excellent|wonderful|"
    r"brilliant|outstanding|superb|"
    r"exceptional|fantastic|amazing|perfect|comprehensive|high-quality|best possible|"
    r"thorough)(?:,? \w+){0,2} (?:answer|response)|"
    r"this (?:answer|response) (?:is|fully|covers|addresses|satisfies|meets)|(?:love|admire|"
    r"appreciate) (?:your|how you))\b",
    re.I,
)
_FILLER = re.compile(
    r"\b(?:it is (?:important|worth|crucial|essential) to (?:note|remember|keep in mind|mention)|"
    r"there are (?:many|various|"
    r"several|a (?:number|variety|lot) of) (?:different )?(?:factors|aspects|ways|reasons|things)|"
    r"in today's (?:\w+ ){0,2}world|"
    r"at the end of the day|needless to say|as we all know|plays? an? (?:important|crucial|vital|key|significant) role|"
    r"it (?:really |all )?depends on|in (?:conclusion|summary)|when it comes to|let me know if|feel free to|"
    r"(?:a|the) (?:wide )?(?:variety|range) of|complex and (?:multifaceted|nuanced)|in many ways|overall,)",
    re.I,
)
_OPENER = re.compile(
    r"\s*(?:sure|certainly|absolutely|definitely|of course|great|okay|ok|yes, I can|I'd be happy|I would be happy|"
    r"here(?:'s| is| are))\b[^\n.:!]{0,200}[.:!\n]",
    re.I,
)
_FOR_A_READER = re.compile(
    r"\b(?:compliment|praise|flatter|email|letter|review|message|thank|card|toast|dialogue|"
    r"conversation|story|poem|speech|"
    r"feedback|greet|love|role|act as|customer|caption|slogan)",
    re.I,
)
_HARMFUL = re.compile(
    r"\b(?:kill|murder|bomb|weapon|rob|steal|hack|curse|poison|drugs?|suicide|porn|racist|illegal|explosives?|attack|"
    r"stalk|forge|launder|meth|body|real-time|current|latest|today|remind me|open the|browse|http)",
    re.I,
)


def wrong(reading: Reading, prompt: str) -> list[Finding]:
    return [*_refusals(reading, prompt), *_flattery(reading, prompt), *_empty(reading)]


def is_refusal(reading: Reading) -> bool:
    """Whether the answer begins by refusing."""
    match = _REFUSAL.search(reading.prose[:600])
    return match is not None and match.start() < max(200, 0.3 * len(reading.prose))


def filler_share(reading: Reading) -> float:
    """A fraction: how many phrases that say nothing there are for each sentence, at most one."""
    return min(1.0, len(_FILLER.findall(reading.prose)) / max(1, len(reading.sentences)))


def preamble(reading: Reading) -> bool:
    """Whether it opens with a word to the reader before it does what is asked."""
    return _OPENER.match(reading.prose) is not None


def _refusals(reading: Reading, prompt: str) -> list[Finding]:
    if not is_refusal(reading):
        return []
    match = _REFUSAL.search(reading.prose)
    assert match is not None
    # A refusal may be the right answer to some prompts; whether it is, no check can tell.
    severity = 0.4 if _HARMFUL.search(prompt) else 0.85 if reading.word_count < 80 else 0.5
    return [
        Finding(
            "refusal",
            "completeness",
            severity,
            "it refuses",
            "do what is asked, or as much of it as can be done",
            reading.place(*match.span()),
        )
    ]


def _flattery(reading: Reading, prompt: str) -> list[Finding]:
    matches = list(_FLATTERY.finditer(reading.prose))
    if not matches or (_FOR_A_READER.search(prompt) and len(matches) < 3):
        return []
    sentences = max(1, len(reading.sentences))
    touched = {sum(1 for s in reading.sentences if s.start <= m.start()) for m in matches}
    share = min(1.0, len(touched) / sentences)
    if len(touched) == 1 and sentences > 1:
        if share < 0.25:
            return []
        share = min(share, 0.3)
    severity = round(min(0.95, 0.1 + 1.2 * share), 4)
    place = reading.place(*matches[0].span())
    return [
        Finding(
            "flattery",
            "relevance",
            severity,
            f"{share:.0%} of its sentences praise the question, the asker or itself",
            "answer the question",
            place,
        )
    ]


def _empty(reading: Reading) -> list[Finding]:
    if not reading.text.strip():
        return [Finding("empty", "completeness", 1.0, "there is no answer", "answer")]
    if not any(char.isalnum() for char in reading.shown):
        return [Finding("empty", "completeness", 0.9, "it holds no word and no number", "answer in words")]
    letters = sum(char.isalnum() or char.isspace() or char in ".,;:!?'\"()-*#_`/" for char in reading.prose[:4000])
    shown = max(1, len(reading.prose[:4000]))
    broken = reading.shown.count("\ufffd") + sum(
        ord(char) < 32 and char not in "\n\r\t" for char in reading.shown[:8000]
    )
    if broken > 3 and broken > 0.02 * shown:
        return [Finding("empty", "clarity", 0.8, "it holds characters that no text has", "write text")]
    if (
        letters / shown < 0.4
        and shown > 40
        and not any(ord(char) > 127 for char in reading.prose[:200])
        and not reading.blocks
    ):
        return [Finding("empty", "clarity", 0.3, "most of it is signs, not words", "say it in words")]
    share = filler_share(reading)
    if share > 0.5 and len(reading.sentences) >= 3:
        return [
            Finding(
                "filler",
                "clarity",
                round(0.2 + 0.3 * share, 4),
                "most of its sentences hold a phrase that says nothing",
                "say what is meant",
            )
        ]
    return []
