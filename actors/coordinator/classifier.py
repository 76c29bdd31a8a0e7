"""How hard a task is and what it is about, read from the structure of its prompt.

A first, honest classifier: it counts what is there (deliverables, steps that build on others, terms of a trade,
constraints, words that demand reasoning) and adds the counts up. It knows English cues; in other languages it still
sees lists, questions, formats and sizes. It gives no confidence: counting yields none.
"""

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from schemas.errors import InvalidRequest
from schemas.task import TaskRequest, Tier

TIERS: tuple[Tier, ...] = ("simple", "moderate", "complex", "mega")
"""From the smallest team to the largest."""

Feature = int | float | list[str]


@dataclass(frozen=True)
class Classification:
    """What a prompt looks like."""

    tier: Tier
    """What the work would deserve, whether or not this version can run it."""
    difficulty: float
    """A fraction in [0, 1]; it orders tasks and means nothing else."""
    domains: tuple[str, ...]
    """Trades that it touches, the one with most terms first."""
    features: dict[str, Feature] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    """Sentences for people."""


@dataclass(frozen=True)
class Weight:
    """How much one feature counts: nothing at 0, `share` of the difficulty from `full` upwards."""

    share: float
    full: float
    logarithmic: bool = False

    def of(self, value: float) -> float:
        scaled = math.log1p(value) / math.log1p(self.full) if self.logarithmic else value / self.full
        return self.share * min(1.0, max(0.0, scaled))


# First estimates, set by hand and fitted to nothing; they are to be fitted to recorded outcomes once there are some.
WEIGHTS: dict[str, Weight] = {
    # Each thing asked for can go wrong by itself; the second adds more than the twelfth.
    "deliverables": Weight(share=0.22, full=15, logarithmic=True),
    # A step that builds on another inherits its mistakes, so it costs more than one that stands alone.
    "dependencies": Weight(share=0.13, full=4),
    # Comparing, proving and planning are what small models fail at first.
    "reasoning": Weight(share=0.27, full=4),
    # Terms of a trade say how much must be known, whatever the question is.
    "terms": Weight(share=0.15, full=6),
    # Several trades in one task need somebody who sees all of them, or several who do.
    "domains": Weight(share=0.08, full=4),
    # Each rule is one more thing to break, though checking a rule is easier than inventing the work.
    "constraints": Weight(share=0.08, full=5),
    # Long is not hard: much to read costs attention only, hence the logarithm and a small share.
    "bytes": Weight(share=0.04, full=65_536, logarithmic=True),
    # Other material than text asks for other abilities.
    "kinds": Weight(share=0.03, full=3),
}

# Where the tiers begin, by hand too: a plain question stays under the first; a product launch with research, plan,
# texts and budget passes the last.
THRESHOLDS: dict[Tier, float] = {"simple": 0.0, "moderate": 0.3, "complex": 0.52, "mega": 0.75}

# Words and phrases, whole ones only; `*` stands for any ending. The order of domains breaks ties.
DOMAINS: dict[str, str] = {
    "architecture": (
        "architect* microservice* scalab* distributed monolith* event-driven cqrs middleware infrastructure kubernetes "
        "load-balanc* high-availability fault-toleran* system-design message-queue* backend cloud serverless topolog* "
        "data-model* throughput latency"
    ),
    "code": (
        "code codes coding python javascript typescript java rust golang c++ c# ruby php sql html css bash regex* "
        "program programs programming programmer* function functions algorithm* compil* debug* refactor* unit-test* "
        "bug bugs api apis endpoint* repository git script scripts class-diagram recurs* array arrays binary-tree "
        "linked-list stack-trace exception* library framework* leetcode pseudocode variable*"
    ),
    "security": (
        "security secure secured vulnerab* encrypt* decrypt* authenticat* authoriz* authoris* oauth* jwt threat-model* "
        "malware phishing exploit* penetration-test* firewall* owasp xss csrf injection password* credential* cipher* "
        "cryptograph* hardening"
    ),
    "privacy": (
        "privacy gdpr personal-data anonymi* pseudonymi* consent data-protection retention-period data-subject* ccpa "
        "hipaa"
    ),
    "data": (
        "dataset* dataframe* csv database* sql postgres* schema etl pipeline* warehouse* statistic* regression* "
        "correlation* machine-learning deep-learning neural* classifier* analytics dashboard* visuali* tabular "
        "outlier* time-series spreadsheet* pandas"
    ),
    "analysis": (
        "analysis analyses analyst* analyze* analyse* analyzing analysing evaluat* assess* benchmark* survey* "
        "root-cause swot forecast* market-research competitor* case-study"
    ),
    "reasoning": (
        "logic* puzzle* riddle* infer* deduc* premise* hypothes* paradox* argument* fallac* syllogism* "
        "counterexample* plausib* causal*"
    ),
    "mathematics": (
        "math* algebra* calculus geometr* integral* derivative* equation* theorem* lemma proof* matrix matrices "
        "probabilit* polynomial* eigen* combinatori* modulo prime-number* triangle* asymptot* arithmetic "
        "standard-deviation"
    ),
    "science": (
        "physic* chemi* biolog* molecul* quantum thermodynam* protein* genetic* photosynthe* neuro* climate "
        "astronom* enzyme* electro* velocity kinetic* atom atoms reaction* organism* planet*"
    ),
    "medicine": (
        "medic* clinical* diagnos* symptom* patient* disease* therap* dosage surgery surgical pharma* vaccin* cancer"
    ),
    "legal": (
        "legal* law laws lawyer* contract* clause* liabilit* copyright* trademark* patent* compliance regulation* "
        "statut* jurisdiction* terms-of-service licen* litigation tort"
    ),
    "finance": (
        "financ* budget* invest* revenue* profit* tax taxes accounting balance-sheet cash-flow portfolio* stock-price* "
        "interest-rate* valuation* loan* roi ebitda pricing hedge* inflation dividend*"
    ),
    "marketing": (
        "marketing campaign* brand brands branding slogan* tagline* seo advert* audience* social-media influencer* "
        "newsletter* customer-segment* conversion-rate* landing-page* product-launch go-to-market press-release*"
    ),
    "design": (
        "ui ux wireframe* mockup* typograph* layout* colour-palette color-palette palette* logo logos prototyp* figma "
        "user-interface user-experience mood-board moodboard* illustration*"
    ),
    "documentation": (
        "documentation readme docstring* tutorial* how-to user-guide* manual manuals api-reference runbook* changelog* "
        "technical-writing release-notes"
    ),
    "writing": (
        "essay* article* blog* poem* poetry story stories novel* email* letter letters speech* headline* caption* "
        "paragraph* rewrit* rephras* proofread* summar* translat* grammar* screenplay* dialogue* lyrics sonnet* haiku* "
        "copywriting tone product-description* product-cop* product-name* wording"
    ),
}

REASONING = (
    "prove proof derive derivation deduce infer compare comparison comparing contrast trade-off* tradeoff* why plan "
    "plans planning strateg* multi-step step-by-step evaluate assess justif* explain explains explanation analy* "
    "optimi* root-cause implication* consequence* impact impacts difference differences pros-and-cons "
    "advantages disadvantages what-if calculat* comput* solve solving determine hypothes* critiqu* critical* "
    "argu* reconcil* prioriti* recommend* decide design diagnos* debug* complex* algorithm* prove-that show-that "
    "minimum maximum optimal predict* interpret* in-detail in-depth challenge* relationship* factors suppose"
)

DEPENDENCE = (
    "then after-that afterwards based-on building-on build-on depends-on depending-on derived-from from-this "
    "from-these from-it using-the-result* using-this using-these using-it with-this the-result of-the-above the-above "
    "accordingly finally subsequently once-you once-that following-that next-step in-turn step-1 step-2 step-3 "
    "step-4 step-5 first-step second-step phase-1 phase-2 phase-3 iterat* consistent-with refine-it feed-into"
)

CONSTRAINTS = (
    "must must-not at-most at-least exactly no-more-than no-less-than no-longer-than fewer-than less-than more-than "
    "up-to within only without avoid do-not don't cannot require* ensure make-sure format formatted json yaml xml csv "
    "markdown table bullet-points numbered-list in-english in-french in-german in-spanish in-italian in-chinese "
    "in-japanese in-arabic in-portuguese formal informal tone in-the-style-of style limit* maximum minimum deadline* "
    "budget-of compatible-with constraint* following-conditions such-that"
)

IMPERATIVES = """
add adapt advise analyse analyze answer arrange assess audit brainstorm break build calculate categorise categorize
change check choose cite clarify classify code combine come compare complete compose compute condense configure
contrast convert correct count craft create criticise critique curate debug decide decompose define deliver deploy
derive describe design detail detect determine develop devise diagnose discuss document draft draw edit elaborate
estimate evaluate examine expand explain explore extend extract fill find fix forecast format formulate generate
give guess highlight identify illustrate implement improve include infer inspect integrate interpret invent
investigate justify label list locate make map match measure merge migrate model modify name normalise normalize
optimise optimize organise organize outline paraphrase parse perform plan plot predict prepare present prioritise
prioritize produce proofread propose prove provide publish rank rate recommend redesign reduce refactor refine
rename render rephrase replace report research resolve review revise rewrite run schedule select set show
simplify simulate sketch solve sort specify split state structure suggest summarise summarize survey tell test
transform translate trace unscramble update validate verify visualise visualize write
"""
LEAD_INS = """
please then and also finally next first second secondly third thirdly now afterwards lastly so or but both
kindly you should must will need to i want would like can could help me us let's lets we i'd your task is just
"""
UNITS = """
words sentences paragraphs lines characters pages tokens letters minutes hours days weeks months years seconds
times points percent dollars euros degrees levels syllables digits decimals places
"""
_IMPERATIVES, _LEAD_INS, _UNITS = (frozenset(words.split()) for words in (IMPERATIVES, LEAD_INS, UNITS))
_NUMBERS = {
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
    "eleven": 11,
    "twelve": 12,
    "dozen": 12,
    "twenty": 20,
    "fifty": 50,
}
_MOST_OF_ONE_KIND = 20
"""A hundred slogans are more work than ten, but no harder."""

_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)?(?:\+\+|#)?|\d+")
_ITEM = re.compile(r"\s*(?:[-*\u2022\u2013]|\(?\d{1,3}[.)]|\(?[a-zA-Z][.)])\s+(?=\S)")
# The look-behind lets a long run of dots be tried once, not from each of its dots.
_SENTENCE = re.compile(r"(?<![.!?;:])[.!?;:]+(?=\s|$)|[\uff1f\u3002\uff01]")
_CLAUSE = re.compile(r",|\band\b|\bthen\b|\bplus\b|\bas well as\b", re.IGNORECASE)
_FENCE = re.compile(r"\s*(?:```|~~~)")


class _Cues:
    """Tables of words and phrases to look for, `*` for any ending; a hyphen joins the words of a phrase."""

    def __init__(self, tables: dict[str, str]) -> None:
        self._names = tuple(tables)
        self._whole: dict[str, list[str]] = {}
        self._stems: dict[str, list[str]] = {}
        for name, cues in tables.items():
            for cue in cues.split():
                known = self._stems if cue.endswith("*") else self._whole
                known.setdefault(cue.removesuffix("*").replace("-", " "), []).append(name)
        phrases = [phrase for phrase in [*self._whole, *self._stems] if " " in phrase]
        self._firsts = {phrase.split(" ")[0] for phrase in phrases}
        self._most_words = max((phrase.count(" ") + 1 for phrase in phrases), default=1)
        self._stem_lengths = range(
            min((len(stem) for stem in self._stems), default=1), max((len(stem) for stem in self._stems), default=0) + 1
        )

    def found(self, words: list[str]) -> dict[str, list[str]]:
        """For each table what occurs of it, as it is written there, each cue once, in the order of the text."""
        candidates = dict.fromkeys(words)
        for place, word in enumerate(words):
            if word in self._firsts:
                for length in range(2, self._most_words + 1):
                    candidates[" ".join(words[place : place + length])] = None
        seen: dict[str, dict[str, str]] = {name: {} for name in self._names}
        for text in candidates:
            for cue, names in self._matches(text):
                for name in names:
                    seen[name].setdefault(cue, text)
        return {name: list(cues.values()) for name, cues in seen.items()}

    def _matches(self, text: str) -> Iterator[tuple[str, list[str]]]:
        if text in self._whole:
            yield text, self._whole[text]
        for end in self._stem_lengths:
            if end > len(text):
                return
            if text[:end] in self._stems:
                yield text[:end], self._stems[text[:end]]


_DEPENDENCE, _REASONING, _CONSTRAINTS = "dependence cues", "reasoning cues", "constraint cues"
_CUES = _Cues(DOMAINS | {_DEPENDENCE: DEPENDENCE, _REASONING: REASONING, _CONSTRAINTS: CONSTRAINTS})
_SHOWN = 12
"""So many cues of a kind are kept among the features; the counts are of all."""


def classify(request: TaskRequest) -> Classification:
    """Read the structure of a task. The same request always gives the same classification."""
    words = _words(request.prompt)
    kinds = sorted({part.kind for part in request.inputs})
    size = len(request.prompt.encode()) + sum(part.size for part in request.inputs)
    deliverables = max(1, _deliverables(request.prompt))
    terms = _CUES.found(words)
    dependencies, reasoning, constraints = (terms.pop(name) for name in (_DEPENDENCE, _REASONING, _CONSTRAINTS))
    domains = _domains(terms, bool(reasoning), request)
    distinct_terms = list(dict.fromkeys(term for domain in domains for term in terms[domain]))
    counts: dict[str, float] = {
        # The one thing that every task asks for makes nothing harder.
        "deliverables": deliverables - 1,
        "dependencies": len(dependencies),
        "reasoning": len(reasoning),
        "terms": len(distinct_terms),
        # Reasoning is a trade for staffing; its difficulty is counted already.
        "domains": max(0, len(set(domains) - {"reasoning"}) - 1),
        "constraints": len(constraints),
        "bytes": size,
        "kinds": len(kinds),
    }
    difficulty = round(min(1.0, sum(WEIGHTS[name].of(count) for name, count in counts.items())), 4)
    tier = _tier(difficulty)
    features: dict[str, Feature] = {
        "deliverables": deliverables,
        "dependencies": dependencies[:_SHOWN],
        "reasoning": reasoning[:_SHOWN],
        "terms": distinct_terms[:_SHOWN],
        "constraints": constraints[:_SHOWN],
        "bytes": size,
        "inputs": len(request.inputs),
        "kinds": [str(kind) for kind in kinds],
    }
    return Classification(tier, difficulty, domains, features, tuple(_reasons(features, domains, difficulty, tier)))


def choose(classification: Classification, asked: Tier | None, built: tuple[Tier, ...]) -> tuple[Tier, tuple[str, ...]]:
    """The tier to run, and why.

    Args:
        asked: what the caller named; it is run or refused, never replaced.
        built: what this version can run; not empty.

    Raises:
        InvalidRequest: the tier asked for is not built.
    """
    if asked is not None:
        if asked not in built:
            raise InvalidRequest("tier", f"{asked!r} is not built yet; this version runs {_quoted(built)}")
        return asked, (f"{asked!r} was asked for",)
    deserved = classification.tier
    if deserved in built:
        return deserved, classification.reasons
    smaller = [tier for tier in built if TIERS.index(tier) < TIERS.index(deserved)]
    # Where only larger shapes are built, the smallest of them still does the work.
    tier = max(smaller, key=TIERS.index) if smaller else min(built, key=TIERS.index)
    place = "smallest" if not smaller else "largest" if len(smaller) == len(built) else "nearest smaller"
    why = f"deserves {deserved!r}; {tier!r} is the {place} shape this version runs"
    return tier, (*classification.reasons, why)


def _words(text: str) -> list[str]:
    return [word.replace("\u2019", "'") for word in _WORD.findall(text.casefold())]


def _domains(terms: dict[str, list[str]], reasoning: bool, request: TaskRequest) -> tuple[str, ...]:
    weight = {domain: len(found) for domain, found in terms.items()}
    if reasoning:
        weight["reasoning"] += 1
    if any(part.kind == "code" for part in request.inputs) or "```" in request.prompt:
        weight["code"] += 1
    if any(part.kind == "data" for part in request.inputs):
        weight["data"] += 1
    touched = [domain for domain in DOMAINS if weight[domain]]
    return tuple(sorted(touched, key=lambda domain: -weight[domain]))


def _deliverables(prompt: str) -> int:
    """How many things are asked for: list items, clauses that begin with an order, questions, and stated numbers.

    Each line counts by itself, so that one more line never lowers the sum. Fenced code asks for nothing.
    """
    return sum(_of_line(line) for line in _outside_fences(prompt.splitlines()))


def _outside_fences(lines: Iterable[str]) -> Iterator[str]:
    fenced = False
    for line in lines:
        if _FENCE.match(line):
            fenced = not fenced
        elif not fenced and line and not line.isspace():
            yield line


def _of_line(line: str) -> int:
    item = _ITEM.match(line)
    text = line[item.end() :] if item else line
    asked, start = 0, 0
    for mark in _SENTENCE.finditer(text):
        asked += _of_sentence(text[start : mark.start()], question="?" in mark[0] or "\uff1f" in mark[0])
        start = mark.end()
    asked += _of_sentence(text[start:], question=False)
    return max(asked, 1 if item else 0)


def _of_sentence(sentence: str, question: bool) -> int:
    ordered, asked = False, 0
    for clause in _CLAUSE.split(sentence):
        words = _words(clause)
        body = next((place for place, word in enumerate(words) if word not in _LEAD_INS), len(words))
        rest = words[body:]
        if len(rest) >= 2 and rest[0] in _IMPERATIVES:
            ordered = True
            asked += _stated_number(rest[1:])
        elif ordered and len(rest) >= 2 and (rest[0] in ("a", "an") or _number(rest[0]) > 1):
            # "Write a slogan, an email and three posts": the order goes for each of them.
            asked += _stated_number(rest)
    return max(asked, 1 if question and len(_words(sentence)) >= 2 else 0)


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
    return int(word) if word.isdecimal() and len(word) <= 3 else _NUMBERS.get(word, 1)


def _tier(difficulty: float) -> Tier:
    return max((tier for tier in TIERS if difficulty >= THRESHOLDS[tier]), key=TIERS.index)


def _reasons(features: dict[str, Feature], domains: tuple[str, ...], difficulty: float, tier: Tier) -> Iterator[str]:
    deliverables, inputs = features["deliverables"], features["inputs"]
    yield "asks for one thing" if deliverables == 1 else f"asks for {deliverables} things"
    if features["dependencies"]:
        yield f"some of it builds on other parts ({_list(features['dependencies'])})"
    if features["reasoning"]:
        yield f"demands reasoning ({_list(features['reasoning'])})"
    if domains:
        yield f"touches {', '.join(domains)}"
    if features["constraints"]:
        yield f"sets constraints ({_list(features['constraints'])})"
    if inputs:
        yield f"brings {inputs} input{'s' if inputs != 1 else ''} ({_list(features['kinds'])})"
    bounds = [bound for bound in THRESHOLDS.values() if bound > difficulty]
    above = f", under {min(bounds):.2f}" if bounds else ""
    yield f"difficulty {difficulty:.2f} is at least {THRESHOLDS[tier]:.2f}{above}: {tier!r}"


def _list(cues: Feature) -> str:
    return ", ".join(cues) if isinstance(cues, list) else str(cues)


def _quoted(tiers: tuple[Tier, ...]) -> str:
    return ", ".join(repr(tier) for tier in tiers)
