"""What a prompt asks of the form and content of its answer, each with its place in the prompt.

Rules of English prompts, found where the prompt gives orders: in its first and last part, outside quoted text and code.
What no rule finds is not known, and nothing is claimed about it.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from actors.quality.language import language_asked
from actors.quality.text import Place, words_of

Bound = Literal["exactly", "at least", "at most", "about"]
Kind = Literal[
    "count", "format", "code", "language", "must", "must not", "starts", "ends", "choice", "yes or no", "short",
    "example", "parts", "items", "original", "own words", "position", "first person", "form", "schema", "only",
]  # fmt: skip

_FRONT, _BACK = 1600, 600


@dataclass(frozen=True, slots=True)
class Requirement:
    kind: Kind
    values: tuple[str, ...] = ()
    number: int = 0
    bound: Bound = "exactly"
    place: Place | None = None
    """In the prompt; `None` for what the request says beside it."""
    unit: str = ""


_NUMBERS = {w: n for n, w in enumerate("one two three four five six seven eight nine ten eleven twelve".split(), 1)} | {
    "a couple of": 2, "fifteen": 15, "twenty": 20, "thirty": 30, "fifty": 50, "a hundred": 100, "single": 1,
}  # fmt: skip
_N = r"(?:\d{1,5}(?!st|nd|rd|th)|" + "|".join(_NUMBERS) + r")"
_BOUND = r"(?:(?P<bound>exactly|at least|at most|no more than|not more than|no fewer than|no less than|more than|over|fewer than|less than|under|maximum(?: of)?|up to|within|about|around|approximately|roughly|minimum(?: of)?|max|min|in|using|with|only|limit(?:ed)? (?:\w+ ){0,3}to)\s+)?"
_UNITS = r"(?P<unit>words?|sentences?|paragraphs?|lines?|characters?|letters?|bullet[- ]?points?|bullets?|points?|items?|steps?|stanzas?|verses?)"
_COUNT = re.compile(
    rf"\b{_BOUND}(?:the |a )?(?P<n>{_N})(?:\s*(?:-|\u2013|to|or)\s*(?P<m>{_N}))?[- ]?(?:\w+[- ]){{0,1}}?{_UNITS}\b(?P<after>\s+(?:or (?:less|fewer|more)|max(?:imum)?|minimum|at most|at least))?",
    re.I,
)
_MAKE = r"(?:list|name|give|write|generate|create|suggest|provide|find|identify|come up with|propose|brainstorm|produce|describe|make|state|mention|recommend|think of|construct|compose|offer|tell me|show|pick|select|outline|need|want|share|explain)"
_THINGS = re.compile(
    rf"\b{_MAKE}\b(?:\s+(?:me|us|out|down|up|for me|at least|exactly|a list of|up to|the|my|of|some|any|another|with|at most|about|around|top)){{0,4}}\s+(?P<n>{_N})\s+(?P<what>(?:[\w'-]+\s+){{0,4}}?[\w'-]+)",
    re.I,
)
_TOP = re.compile(
    rf"\b(?:what are|which are|top|the|list of)\s+(?:the |some )?(?P<n>{_N})\s+(?P<what>(?:[\w'-]+\s+){{0,3}}?[a-z'-]+s)\b",
    re.I,
)
_NOT_THINGS = re.compile(
    r"\b(?:years?|days?|hours?|minutes?|weeks?|months?|dollars?|percent|people|persons?|times?|th|players?|words?|sentences?|characters?|paragraphs?|lines?|letters?|grade|degrees?|miles?|km|is|are|was|of the|kids|children|digits?|stars?|pages?|dimensional|star|page|day|of them|minute|second|step|adults|friends|levels?|parts?|variables?|parameters?|columns?|categories|groups|classes|numbers?)\b",
    re.I,
)
_FORMAT = re.compile(
    r"\b(?:in|as|into|to|using|output|return|give|generate|create|produce|provide|valid|respond with|with)\s+(?:an?\s+|the\s+|only\s+|valid\s+|raw\s+|your answer in\s+|me\s+){0,3}"
    r"(?P<format>json|yaml|csv|xml|html|markdown table|table|markdown|bullet(?:ed)?[- ]?(?:points?|list)|numbered list|latex)\b",
    re.I,
)
_CODE_LANGUAGE = re.compile(
    r"\b(?:in|using|with|a|an|of)\s+(?P<language>python|javascript|typescript|java|c\+\+|c#|rust|golang|go|ruby|php|sql|bash|swift|kotlin|html|css|r)\b(?=[\s.,?!:]|$)",
    re.I,
)
_CODE = re.compile(
    r"(?:^|[.!?:\n,]\s*|\b(?:please|you to|can you|could you|me to|to|and|help me|let's) )(?:please )?(?:write|create|generate|implement|give|build|develop|design|construct|provide|code|modify|fix|rewrite|refactor|complete|show)\b[^.?!\n]{0,60}?\b(?:program|function|script|code|"
    r"regex|regular expression|sql query|query|neural network|snippet|web page)\b",
    re.I,
)
_NOT_CODE = re.compile(
    r"\b(?:of conduct|dress code|tv|movie|film|play|podcast|video|dialog\w*|scene|youtube|discount|qr)\b", re.I
)
_QUOTED = r"[\"'\u2018\u201c`]([^\"'\u2019\u201d`\n]{1,60})[\"'\u2019\u201d`]"
_MUST = re.compile(
    rf"\b(?:us(?:e|ing)|includ(?:e|es|ing)|contain(?:s|ing)?|mention(?:s|ing)?|with|incorporat(?:e|ing))\s+(?:all\s+)?(?:of\s+)?(?:the\s+)?(?:following\s+)?(?P<unit>exact\s+)?(?:words?|phrases?|terms?|keywords?|characters?|letters?|names?)?(?:\s+of)?\s*:?\s*(?P<list>{_QUOTED}(?:\s*(?:,|and|,\s*and|&|or)\s*{_QUOTED}){{0,9}})",
    re.I,
)
_MUST_BARE = re.compile(
    r"\b(?:us(?:e|ing)|includ(?:e|ing)|contain(?:s|ing)?)\s+(?:all\s+)?(?:of\s+)?(?:the\s+)?(?:following|given|these)\s+(?:\w+\s+)?(?:words?|terms?|keywords?)\b[^:\n]{0,60}[:.]\s*(?P<list>[^\n.]{2,120})",
    re.I,
)
_MUST_NOT = re.compile(
    rf"\b(?:(?:do not|don't|never|without|avoid|must not|should not|not to|not|no)\s+(?:ever\s+)?(?:us(?:e|ing)|includ(?:e|ing)|contain(?:ing)?|mention(?:ing)?|say(?:ing)?|writ(?:e|ing)|the)|avoid|without)\s+(?:any\s+(?:of\s+)?)?(?:the\s+)?(?:following\s+)?(?:words?|phrases?|terms?|characters?|letters?)?\s*:?\s*(?P<list>{_QUOTED}(?:\s*(?:,|and|or|,\s*or|,\s*and)\s*{_QUOTED}){{0,9}})",
    re.I,
)
_STARTS = re.compile(
    rf"\b(?:start|begin|starting|beginning)s?\b[^.\n]{{0,40}}?\bwith\b(?:\s+the)?(?:\s+(?P<unit>word|letter|phrase|sentence|character))?\s*:?\s*{_QUOTED}",
    re.I,
)
_ENDS = re.compile(
    rf"\b(?:end|finish|ending|conclude)s?\b[^.\n]{{0,40}}?\bwith\b(?:\s+the)?(?:\s+(?:word|phrase|sentence|result in))?\s*:?\s*{_QUOTED}",
    re.I,
)
_CHOICE = re.compile(
    r"(?:^|[.?!:\n]\s*)(?:please |now )?(?:classif\w+|categori[sz]e|label|decide|determine|identify|say|tell|state|answer|output|respond|reply|detect)\b[^.?\n]{0,80}?\b(?:as|whether|if|with|either|into)\b[^.?\n]{0,50}?[\"'\u201c]?\b(?P<a>[\w-]{2,20})[\"'\u201d]?(?:,\s*[\"'\u201c]?(?P<c>[\w-]{2,20})[\"'\u201d]?,?)?\s+or\s+(?:as\s+)?(?:an?\s+)?[\"'\u201c]?(?P<b>[\w-]{2,20})",
    re.I,
)
_YES_NO = re.compile(
    r"\b(?:(?:yes|true)(?:/| or )(?:no|false))\b|(?:^|[.\n]\s*)(?:is|are|do|does|did|can|could|should|will|would|has|have|was|were) (?:it|there|the|this|that|these|we|i|you|a|an|he|she|they|my|[A-Z]\w+)\b[^.?\n]{3,160}\?|\bdetect if\b|\bcheck (?:if|whether)\b|\bdetermine (?:if|whether)\b",
    re.I,
)
_SHORT = re.compile(
    r"\b(?:briefly|as briefly as|concise(?:ly)?|in (?:a )?(?:one|single) (?:word|sentence)|short answer|keep it short|in a few (?:words|lines|sentences)|(?:with|just|only) (?:the|a) (?:\w+ )?(?:number|letter|word|answer|name|code|result)|one[- ]word|brief)\b",
    re.I,
)
_ONLY = re.compile(
    r"\b(?:(?:respond|answer|reply|output|return|give|provide|print) (?:\w+ ){0,2}(?:only|just|nothing but)|only (?:respond|answer|reply|output|return|give|print)|no (?:explanations?|other text|commentary)|do not (?:write |give |provide |include |add )?(?:any )?explanations?|without (?:any )?explanations?|nothing else)\b",
    re.I,
)
_EXAMPLE = re.compile(
    r"\b(?:with|give|provide|include|and|using|show)\s+(?:me\s+)?(?:an?|some|one|brief|specific|\w+)\s+(?:\w+ ){0,2}examples?\b",
    re.I,
)
_ORIGINAL = re.compile(
    r"\b(?:paraphrase|rephrase|rewrite|reword|restate|summari[sz]e|edit|modify|simplify|infer|interpret|what does [^.\n]{1,80} mean|convert|transform|change|improve|correct|translate)\b",
    re.I,
)
_SUMMARY = re.compile(
    r"\b(?:summari[sz]e|summary|tl;?dr|paraphrase|rephrase|reword|in your own words|infer|implied meaning)\b", re.I
)
_ITEMS = re.compile(
    r"\b(?:sort|order|arrange|rearrange|group|classify|categori[sz]e|alphabeti[sz]e|rank|organi[sz]e|reorder)\b[^\n]{0,160}?[:\n.]\s*(?P<list>[^\n:]{1,60}(?:,\s*[^\n,]{1,40}){2,30})",
    re.I,
)
_FIRST = re.compile(
    r"\b(?:introduce yourself|act as|pretend|you are (?:now )?an?\b|imagine you are|as if you|in the (?:voice|tone|style|way) of|role ?play|take the role)\b",
    re.I,
)
_POSITION = re.compile(
    rf"\b(?P<places>\d{{1,4}}(?:st|nd|rd|th)(?:(?:,| and|, and)\s*\d{{1,4}}(?:st|nd|rd|th))*) words? (?:to be|is|are|must be|should be)\s*(?P<list>{_QUOTED}(?:\s*(?:,|and)\s*{_QUOTED}){{0,9}})",
    re.I,
)
_PARTS = re.compile(
    r"\b(?:describe|explain|discuss|include|cover|outline|list|name|identify|explain:|define|specify|give|mention|detail)\b:?\s+(?:the\s+|its\s+|their\s+|both\s+|how\s+)?(?P<list>[\w' -]{2,40}(?:,\s*(?:and\s+)?[\w' -]{2,40}){1,8}(?:,?\s*and\s+[\w' -]{2,40})?)(?=[.?\n:]|$)",
    re.I,
)
_FORM = re.compile(
    r"\b(?:write|create|compose|generate|make|draft|craft|produce|give|construct|come up with|design|tell|complete|turn)\b(?:\s+(?:me|us|up|out|for me)){0,2}\s+(?:an?|one|the|your|another|some|two|three|four|five|\d+)\s+(?:[\w-]+\s+){0,3}?(?<!-)(?P<form>poem|poetry|haiku|story|dialog(?:ue)?|conversation|e-?mail|letter|quiz|questions?|equation|essay|sentence(?! (?:using|story))|title|headline|list|recipe|limerick|joke|tweet|nickname|slogan|paragraph|summary|outline|metaphor|simile|proverb|script)s?\b(?!-)",
    re.I,
)


def instruction_of(prompt: str) -> tuple[str, tuple[tuple[int, int], ...]]:
    """The part of a prompt that gives orders, and the pieces (start, end) of the prompt that it is made of."""
    if len(prompt) <= _FRONT + _BACK:
        pieces: tuple[tuple[int, int], ...] = ((0, len(prompt)),)
    else:
        pieces = ((0, _FRONT), (len(prompt) - _BACK, len(prompt)))
    text = "\n".join(prompt[start:end] for start, end in pieces)
    return re.sub(r"```.*?(?:```|\Z)", lambda m: re.sub(r"[^\n]", " ", m[0]), text, flags=re.S), pieces


def extract(prompt: str, json_schema: Mapping[str, Any] | None = None) -> tuple[Requirement, ...]:
    """What is asked, in the order of the rules; the same prompt always gives the same."""
    text, pieces = instruction_of(prompt)

    def place(match: re.Match[str]) -> Place:
        (_, front), shift = pieces[0], 0
        if len(pieces) > 1 and match.start() > front:
            shift = pieces[1][0] - front - 1
        return Place.of(prompt, match.start() + shift, match.end() + shift)

    found = [*_counts(text, place), *_words(text, place), *_shapes(text, place)]
    if json_schema is not None:
        found.append(Requirement("schema"))
    language, named = language_asked(text)
    if language is not None and named:
        found.append(Requirement("language", (language,)))
    unique: dict[tuple[object, ...], Requirement] = {}
    for requirement in found:
        unique.setdefault((requirement.kind, requirement.values, requirement.number, requirement.unit), requirement)
    return tuple(unique.values())[:60]


def _number(word: str) -> int:
    return int(word) if word.isdecimal() else _NUMBERS.get(word.lower(), 0)


def _counts(text: str, place: Any) -> Iterator[Requirement]:
    for match in _COUNT.finditer(text):
        number, unit = _number(match["n"]), match["unit"].lower().replace("-", " ").removesuffix("s")
        if (
            not number
            or (unit == "letter" and not match["bound"])
            or (unit in ("letter", "line", "point", "item", "word") and number == 1 and not match["bound"])
        ):
            continue
        if re.search(
            r"\b(?:first|last|next|following|these|those|the|of|between|from an?|from)\s+$", text[: match.start()][-12:]
        ):
            continue
        if re.match(r"\d+(?:st|nd|rd|th)", match["n"] + text[match.end("n") : match.end("n") + 2]) or re.match(
            r"\s*(?:changed|below|above|each)", text[match.end() :]
        ):
            continue
        unit = {
            "bullet point": "item",
            "bullet": "item",
            "point": "item",
            "step": "item",
            "verse": "stanza",
            "bulletpoint": "item",
        }.get(unit, unit)
        bound = _bound(match["bound"], match["after"])
        if match["m"] and (top := _number(match["m"])) > number:
            yield Requirement("count", (), number, "at least", place(match), unit)
            yield Requirement("count", (), top, "at most", place(match), unit)
            continue
        yield Requirement("count", (), number, bound, place(match), unit)
    for pattern in (_THINGS, _TOP):
        for match in pattern.finditer(text):
            number, what = _number(match["n"]), match["what"]
            noun = what.split()[0] if number == 1 else what
            if (
                1 <= number <= 100
                and not _NOT_THINGS.search(what)
                and (number == 1 or re.search(r"s\b|people|words", noun))
            ):
                bound: Bound = "at least" if re.search(r"at least", match[0], re.I) else "exactly"
                if number > 1:
                    yield Requirement("count", (what.lower(),), number, bound, place(match), "thing")
                else:
                    yield Requirement("only", (what.lower(),), 1, "exactly", place(match))


def _bound(before: str | None, after: str | None) -> Bound:
    words = f"{before or ''} {after or ''}".lower()
    if re.search(r"at most|no more|not more|fewer than|less than|under|max|up to|within|or less|or fewer|limit", words):
        return "at most"
    if re.search(r"at least|no fewer|no less|more than|over|min|or more", words):
        return "at least"
    if re.search(r"about|around|approximately|roughly", words):
        return "about"
    return "exactly"


def _listed(text: str) -> tuple[str, ...]:
    return tuple(
        dict.fromkeys(found.strip(" ,.") or found.strip() for found in re.findall(_QUOTED, text) if found.strip())
    )


def _words(text: str, place: Any) -> Iterator[Requirement]:
    positions = list(_POSITION.finditer(text))
    for match in positions:
        values = _listed(match["list"])
        places = [int(number) for number in re.findall(r"\d+", match["places"])]
        for number, value in zip(places, values, strict=False):
            yield Requirement("position", (value,), number, "exactly", place(match))
    forbidden = list(_MUST_NOT.finditer(text))
    for match in forbidden:
        unit = (
            "character"
            if re.search(r"\b(?:characters?|letters?)\b", match[0].split(match["list"])[0], re.I)
            else "word"
        )
        yield Requirement("must not", _listed(match["list"]), place=place(match), unit=unit)
    for match in _MUST.finditer(text):
        if any(other.start() <= match.start() < other.end() for other in forbidden) or re.search(
            r"\b(?:not|n't|never|without|no)\s*$", text[: match.start()][-10:], re.I
        ):
            continue
        unit = (
            "character"
            if re.search(r"\b(?:characters?|letters?)\b", match[0].split(match["list"])[0], re.I)
            else "word"
        )
        if match[0].lower().startswith("with") and not re.search(
            r"\b(?:words?|phrases?|letters?|characters?)\b", match[0], re.I
        ):
            continue
        yield Requirement("must", _listed(match["list"]), place=place(match), unit=unit)
    for match in _MUST_BARE.finditer(text):
        values = tuple(v.strip(" \"'.") for v in re.split(r",|\band\b", match["list"]) if v.strip(" \"'."))
        if 1 <= len(values) <= 10 and all(len(v.split()) <= 3 for v in values):
            yield Requirement("must", values, place=place(match), unit="word")
    for match in _STARTS.finditer(text):
        yield Requirement("starts", (match[2].strip(),), place=place(match), unit=(match["unit"] or "word").lower())
    for match in _ENDS.finditer(text):
        if "result" not in match[1]:
            yield Requirement("ends", (match[1].strip(),), place=place(match))


def _shapes(text: str, place: Any) -> Iterator[Requirement]:
    for match in _FORMAT.finditer(text):
        name = match["format"].lower()
        name = "items" if "bullet" in name or "list" in name else "table" if "table" in name else name
        if name == "table" and re.search(
            r"\b(?:periodic|dinner|tennis|to the|on the|for the)\b",
            match[0] + text[match.start() - 12 : match.start()],
            re.I,
        ):
            continue
        yield Requirement("format", (name,), place=place(match))
    code = _CODE.search(text)
    if code and not _NOT_CODE.search(code[0] + text[code.end() : code.end() + 20]):
        language = _CODE_LANGUAGE.search(text)
        yield Requirement("code", (language["language"].lower(),) if language else (), place=place(code))
    if (match := _CHOICE.search(text)) and match["b"].lower() not in ("not", "no", "more", "less"):
        yield Requirement("choice", tuple(match[k].lower() for k in "acb" if match[k]), place=place(match))
    elif match := _YES_NO.search(text):
        yield Requirement("yes or no", place=place(match))
    for pattern, kind in ((_SHORT, "short"), (_EXAMPLE, "example"), (_FIRST, "first person")):
        if match := pattern.search(text):
            yield Requirement(kind, place=place(match))  # type: ignore[arg-type]
    if match := _ONLY.search(text):
        yield Requirement("only", place=place(match))
    if match := _SUMMARY.search(text):
        yield Requirement("own words", place=place(match))
    if match := _ITEMS.search(text):
        values = tuple(v.strip(" .\"'") for v in match["list"].split(",") if v.strip(" .\"'"))
        if all(len(value.split()) <= 4 for value in values):
            yield Requirement("items", values, place=place(match))
    if match := _PARTS.search(text):
        values = tuple(
            v.strip() for v in re.split(r",|\band\b", match["list"]) if words_of(v) and v.strip() not in ("etc", "etc.")
        )
        if 2 <= len(values) <= 9:
            yield Requirement("parts", values, place=place(match))
    if match := _FORM.search(text):
        yield Requirement("form", (match["form"].lower(),), place=place(match))
