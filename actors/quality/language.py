"""Which language a text is in, and whether it is the one asked for."""

import re
from collections import Counter

from actors.quality.finding import Finding
from actors.quality.text import Reading, words_of

_COMMON = {
    "en": "the and of to in is that it for with as was on are this you be by not or from have an at which we can but "
    "they will their has if your its these more about how what when there been were would who his her she he my our",
    "de": "der die das und ist nicht ein eine zu den mit von auf für im sich dem des auch es als wie werden wird sind "
    "einer oder bei nach aus wenn kann man haben ich sie wir durch über noch um nur aber zum zur dass diese einen ihre",
    "fr": "le la les des et est une que pour dans qui pas sur avec au ce il sont du plus par ne se vous nous aux cette "
    "mais ou comme être leur elle en un de à je son ses cela peut très fait entre ces votre était",
    "es": "el la los las y es una que para por con no se del al lo como más su sus pero este esta son o ha en un de "
    "está muy también cuando todo sobre ser fue hay entre puede desde porque nos ya qué",
    "it": "il la le gli e è una che per con non si del della dei nel come più sono un di in da lo alla ma anche questo "
    "questa ha ed o essere suo sua delle degli nella dal al molto può loro",
    "pt": "o a os as e é uma que para por com não se do da dos das no na como mais um de em ao mas seu sua são ou foi "
    "este esta pode também ser muito está você quando nos pela pelo isso",
    "nl": "de het een en van is dat niet in op te zijn voor met die aan er ook als maar om bij wordt naar uit kan door "
    "worden hebben deze over je ik wij hun was heeft nog dit geen",
    "sv": "och att det som en är på för av med den till inte ett om har de i kan var men så från eller vi "
    "du jag sig när "
    "man ska också detta denna där mycket",
    "pl": "i w na nie to się jest z do że jak za od po są przez ale dla tym co oraz lub może być jego które który tak "
    "ich już tylko także",
    "tr": "ve bir bu için ile da de olarak daha çok olan gibi en ne kadar sonra var ama değil veya her ben sen biz "
    "olduğu şey mi",
}
_WORDS = {language: frozenset(word for word in words.split() if len(word) > 1) for language, words in _COMMON.items()}
_OF_WORD: dict[str, tuple[str, ...]] = {
    word: tuple(language for language, known in _WORDS.items() if word in known)
    for word in frozenset[str]().union(*_WORDS.values())
}
_SCRIPTS = {
    "ja": re.compile(r"[\u3040-\u30ff]"),
    "ko": re.compile(r"[\uac00-\ud7af\u1100-\u11ff]"),
    "zh": re.compile(r"[\u3400-\u9fff]"),
    "ru": re.compile(r"[\u0400-\u04ff]"),
    "ar": re.compile(r"[\u0600-\u06ff]"),
    "he": re.compile(r"[\u0590-\u05ff]"),
    "el": re.compile(r"[\u0370-\u03ff]"),
    "hi": re.compile(r"[\u0900-\u097f]"),
    "th": re.compile(r"[\u0e00-\u0e7f]"),
}
NAMES = {
    "english": "en", "german": "de", "deutsch": "de", "french": "fr", "français": "fr", "spanish": "es",
    "español": "es", "italian": "it", "italiano": "it", "portuguese": "pt", "dutch": "nl", "swedish": "sv",
    "polish": "pl", "turkish": "tr", "japanese": "ja", "korean": "ko", "chinese": "zh", "mandarin": "zh",
    "russian": "ru", "arabic": "ar", "hebrew": "he", "greek": "el", "hindi": "hi", "thai": "th",
}  # fmt: skip
_LETTER = re.compile(r"[^\W\d_]")
_NAMED = re.compile(
    r"(?:\b(?:in|into|to|auf|en|using)\s+(?:the\s+|simple\s+|plain\s+|proper\s+|formal\s+|modern\s+)*)"
    rf"({'|'.join(NAMES)})\b(?!\s+(?:sentence|word|text|movie|film|history|literature|class|teacher|cuisine|food|"
    r"people|culture|king|queen|revolution|market|art|government|speaker))",
    re.I,
)
_FOREIGN = re.compile(
    rf"\b(?:translat\w*|languages?|idioms?|loanwords?|phrases? in|"
    rf"{'|'.join(name for name in NAMES if name != 'english')})\b",
    re.I,
)

FEWEST_WORDS = 6
"""Fewer words of a Latin script tell no language."""


def language_of(text: str) -> tuple[str | None, float]:
    """The language's code and how sure that is, a fraction; `None` where nothing can be said."""
    sample = text[:4000]
    letters = len(_LETTER.findall(sample))
    if letters < 4:
        return None, 0.0
    for language, script in _SCRIPTS.items():
        share = len(script.findall(sample)) / letters
        # A Japanese text is mostly Chinese characters; a tenth of kana tells it.
        if share > (0.1 if language == "ja" else 0.4):
            return language, min(1.0, 0.5 + share / 2)
    words = words_of(sample)
    if len(words) < FEWEST_WORDS:
        return None, 0.0
    hits = Counter(dict.fromkeys(_WORDS, 0))
    for word in words:
        hits.update(_OF_WORD.get(word, ()))
    first, second = sorted(hits, key=lambda language: -hits[language])[:2]
    # Two words that many languages share tell nothing; neither does one in twenty.
    if hits[first] < 3 or hits[first] < 0.08 * len(words) or hits[first] - hits[second] < 2:
        return None, 0.0
    return first, (hits[first] - hits[second]) / hits[first]


def language_asked(prompt: str) -> tuple[str | None, bool]:
    """The language that the answer is to be in, and whether the prompt names it; `None` where it may be any."""
    named = {NAMES[match[1].lower()] for match in _NAMED.finditer(prompt)}
    if len(named) == 1:
        return named.pop(), True
    if named or _FOREIGN.search(prompt):
        return None, False
    language, sure = language_of(prompt)
    if language is None and prompt.isascii() and len(set(words_of(prompt)) & _WORDS["en"]) >= 1:
        # Too short to be sure of itself; an answer in a language that is sure of itself is still a surprise.
        hits = {name: len(set(words_of(prompt)) & known) for name, known in _WORDS.items()}
        if all(hits["en"] > other for name, other in hits.items() if name != "en"):
            return "en", False
    return (language, False) if sure > 0.3 else (None, False)


def wrong(reading: Reading, prompt: str) -> list[Finding]:
    asked, named = language_asked(prompt)
    if asked is None:
        return []
    found, sure = language_of(reading.prose)
    if found is None or found == asked or sure < 0.34:
        return _in_part(reading, asked)
    return [
        Finding(
            "language",
            "completeness",
            0.95 if named else 0.9,
            f"the answer is in {found!r}; {'the prompt asks for' if named else 'the question is in'} {asked!r}",
            f"answer in {asked!r}",
            reading.place(0, len(reading.shown)),
        )
    ]


def _in_part(reading: Reading, asked: str) -> list[Finding]:
    """A long answer that changes its language on the way."""
    sentences = [s for s in reading.sentences if len(s.text) >= 40][:12]
    strange = []
    for sentence in sentences:
        found, sure = language_of(sentence.text)
        if found not in (None, asked) and sure > 0.6:
            strange.append(sentence)
    if len(sentences) < 2 or len(strange) < max(1, 0.34 * len(sentences)):
        return []
    first = strange[0]
    place = reading.place(first.start, first.start + len(first.text))
    return [
        Finding(
            "language", "completeness", 0.6, f"parts of the answer are not in {asked!r}", f"keep to {asked!r}", place
        )
    ]
