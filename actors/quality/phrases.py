"""How English prompts ask: one pattern for each kind of requirement."""

import re

NUMBERS = {
    "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
    "eleven": 11, "twelve": 12, "a couple of": 2, "fifteen": 15, "twenty": 20, "thirty": 30, "fifty": 50,
    "a hundred": 100, "single": 1,
}  # fmt: skip
N = r"(?:\d{1,5}(?!st|nd|rd|th)|" + "|".join(NUMBERS) + r")"
BOUND = (
    r"(?:(?P<bound>exactly|at least|at most|no more than|not more than|no fewer than|no less than|"
    r"more than|over|fewer than|less than|under|maximum(?: of)?|up to|within|about|around|"
    r"approximately|roughly|minimum(?: of)?|max|min|in|using|with|only|"
    r"limit(?:ed)? (?:\w+ ){0,3}to)\s+)?"
)
UNITS = (
    r"(?P<unit>words?|sentences?|paragraphs?|lines?|characters?|letters?|bullet[- ]?points?|bullets?|"
    r"points?|items?|steps?|stanzas?|verses?)"
)
COUNT = re.compile(
    rf"\b{BOUND}(?:the |a )?(?P<n>{N})(?:\s*(?:-|\u2013|to|"
    rf"or)\s*(?P<m>{N}))?[- ]?(?:\w+[- ]){{0,1}}?{UNITS}\b(?P<after>\s+(?:or (?:less|fewer|more)|"
    rf"max(?:imum)?|minimum|at most|at least))?",
    re.I,
)
MAKE = (
    r"(?:list|name|give|write|generate|create|suggest|provide|find|identify|come up with|propose|"
    r"brainstorm|produce|describe|make|state|mention|recommend|think of|construct|compose|offer|"
    r"tell me|show|pick|select|outline|need|want|share|explain)"
)
THINGS = re.compile(
    rf"\b{MAKE}\b(?:\s+(?:me|us|out|down|up|for me|at least|exactly|a list of|up to|the|my|of|some|"
    rf"any|another|with|at most|about|around|"
    rf"top)){{0,4}}\s+(?P<n>{N})\s+(?P<what>(?:[\w'-]+\s+){{0,4}}?[\w'-]+)",
    re.I,
)
TOP = re.compile(
    rf"\b(?:what are|which are|top|the|list of)\s+(?:the |"
    rf"some )?(?P<n>{N})\s+(?P<what>(?:[\w'-]+\s+){{0,3}}?[a-z'-]+s)\b",
    re.I,
)
NOT_THINGS = re.compile(
    r"\b(?:years?|days?|hours?|minutes?|weeks?|months?|dollars?|percent|people|persons?|times?|th|"
    r"players?|words?|sentences?|characters?|paragraphs?|lines?|letters?|grade|degrees?|miles?|km|is|"
    r"are|was|of the|kids|children|digits?|stars?|pages?|dimensional|star|page|day|of them|minute|"
    r"second|step|adults|friends|levels?|parts?|variables?|parameters?|columns?|categories|groups|"
    r"classes|numbers?)\b",
    re.I,
)
FORMAT = re.compile(
    r"\b(?:in|as|into|to|using|output|return|give|generate|create|produce|provide|valid|respond with|"
    r"with)\s+(?:an?\s+|the\s+|only\s+|valid\s+|raw\s+|your answer in\s+|me\s+){0,3}"
    r"(?P<format>json|yaml|csv|xml|html|markdown table|table|markdown|bullet(?:ed)?[- ]?(?:points?|"
    r"list)|numbered list|latex)\b",
    re.I,
)
CODE_LANGUAGE = re.compile(
    r"\b(?:in|using|with|a|an|of)\s+(?P<language>python|javascript|typescript|java|c\+\+|c#|rust|"
    r"golang|go|ruby|php|sql|bash|swift|kotlin|html|css|r)\b(?=[\s.,?!:]|$)",
    re.I,
)
CODE = re.compile(
    r"(?:^|[.!?:\n,]\s*|\b(?:please|you to|can you|could you|me to|to|and|help me|"
    r"let's) )(?:please )?(?:write|create|generate|implement|give|build|develop|design|construct|"
    r"provide|code|modify|fix|rewrite|refactor|complete|show)\b[^.?!\n]{0,60}?\b(?:program|function|"
    r"script|code|"
    r"regex|regular expression|sql query|query|neural network|snippet|web page)\b",
    re.I,
)
NOT_CODE = re.compile(
    r"\b(?:of conduct|dress code|tv|movie|film|play|podcast|video|dialog\w*|scene|youtube|discount|qr)\b", re.I
)
QUOTED = r"[\"'\u2018\u201c`]([^\"'\u2019\u201d`\n]{1,60})[\"'\u2019\u201d`]"
MUST = re.compile(
    rf"\b(?:us(?:e|ing)|includ(?:e|es|ing)|contain(?:s|ing)?|mention(?:s|ing)?|with|incorporat(?:e|"
    rf"ing))\s+(?:all\s+)?(?:of\s+)?(?:the\s+)?(?:following\s+)?(?P<unit>exact\s+)?(?:words?|phrases?|"
    rf"terms?|keywords?|characters?|letters?|names?)?(?:\s+of)?\s*:?\s*(?P<list>{QUOTED}(?:\s*(?:,|"
    rf"and|,\s*and|&|or)\s*{QUOTED}){{0,9}})",
    re.I,
)
MUST_BARE = re.compile(
    r"\b(?:us(?:e|ing)|includ(?:e|ing)|contain(?:s|"
    r"ing)?)\s+(?:all\s+)?(?:of\s+)?(?:the\s+)?(?:following|given|these)\s+(?:\w+\s+)?(?:words?|"
    r"terms?|keywords?)\b[^:\n]{0,60}[:.]\s*(?P<list>[^\n.]{2,120})",
    re.I,
)
MUST_NOT = re.compile(
    rf"\b(?:(?:do not|don't|never|without|avoid|must not|should not|not to|not|"
    rf"no)\s+(?:ever\s+)?(?:us(?:e|ing)|includ(?:e|ing)|contain(?:ing)?|mention(?:ing)?|say(?:ing)?|"
    rf"writ(?:e|ing)|the)|avoid|without)\s+(?:any\s+(?:of\s+)?)?(?:the\s+)?(?:following\s+)?(?:words?|"
    rf"phrases?|terms?|characters?|letters?)?\s*:?\s*(?P<list>{QUOTED}(?:\s*(?:,|and|or|,\s*or|"
    rf",\s*and)\s*{QUOTED}){{0,9}})",
    re.I,
)
STARTS = re.compile(
    rf"\b(?:start|begin|starting|beginning)s?\b[^.\n]{{0,40}}?\bwith\b(?:\s+the)?(?:\s+(?P<unit>words?|"
    rf"letter|phrase|sentence|character))?\s*:?\s*{QUOTED}",
    re.I,
)
ENDS = re.compile(
    rf"\b(?:end|finish|ending|conclude)s?\b[^.\n]{{0,40}}?\bwith\b(?:\s+the)?(?:\s+(?:words?|phrase|"
    rf"sentence|result in))?\s*:?\s*{QUOTED}",
    re.I,
)
CHOICE = re.compile(
    r"(?:^|[.?!:\n]\s*)(?:please |now )?(?:classif\w+|categori[sz]e|label|decide|determine|identify|"
    r"say|tell|state|answer|output|respond|reply|detect)\b[^.?\n]{0,80}?\b(?:as|whether|if|with|"
    r"either|into)\b[^.?\n]{0,50}?[\"'\u201c]?\b(?P<a>[\w-]{2,20})[\"'\u201d]?(?:,\s*[\"'\u201c]?(?P<c>[\w-]{2,20})[\"'\u201d]?,?)?\s+or\s+(?:as\s+)?(?:an?\s+)?[\"'\u201c]?(?P<b>[\w-]{2,20})",
    re.I,
)
YES_NO = re.compile(
    r"\b(?:(?:yes|true)(?:/| or )(?:no|false))\b|(?:^|[.\n]\s*)(?:is|are|do|does|did|can|could|should|"
    r"will|would|has|have|was|were) (?:it|there|the|this|that|these|we|i|you|a|an|he|she|they|my|"
    r"[A-Z]\w+)\b[^.?\n]{3,160}\?|\bdetect if\b|\bcheck (?:if|whether)\b|\bdetermine (?:if|whether)\b",
    re.I,
)
SHORT = re.compile(
    r"\b(?:briefly|as briefly as|concise(?:ly)?|in (?:a )?(?:one|single) (?:word|sentence)|"
    r"short answer|keep it short|in a few (?:words|lines|sentences)|(?:with|just|only) (?:the|"
    r"a) (?:\w+ )?(?:number|letter|word|answer|name|code|result)|one[- ]word|brief)\b",
    re.I,
)
ONLY = re.compile(
    r"\b(?:(?:respond|answer|reply|output|return|give|provide|print) (?:\w+ ){0,2}(?:only|just|"
    r"nothing but)|only (?:respond|answer|reply|output|return|give|print)|no (?:explanations?|"
    r"other text|commentary)|do not (?:write |give |provide |include |add )?(?:any )?explanations?|"
    r"without (?:any )?explanations?|nothing else)\b",
    re.I,
)
EXAMPLE = re.compile(
    r"\b(?:with|give|provide|include|and|using|show)\s+(?:me\s+)?(?:an?|some|one|brief|specific|"
    r"\w+)\s+(?:\w+ ){0,2}examples?\b",
    re.I,
)
ORIGINAL = re.compile(
    r"\b(?:paraphrase|rephrase|rewrite|reword|restate|summari[sz]e|edit|modify|simplify|infer|"
    r"interpret|what does [^.\n]{1,80} mean|convert|transform|change|improve|correct|translate)\b",
    re.I,
)
SUMMARY = re.compile(
    r"\b(?:summari[sz]e|summary|tl;?dr|paraphrase|rephrase|reword|in your own words|infer|implied meaning)\b", re.I
)
ITEMS = re.compile(
    r"\b(?:sort|order|arrange|rearrange|group|classify|categori[sz]e|alphabeti[sz]e|rank|organi[sz]e|"
    r"reorder)\b[^\n]{0,160}?[:\n.]\s*(?P<list>[^\n:]{1,60}(?:,\s*[^\n,]{1,40}){2,30})",
    re.I,
)
FIRST = re.compile(
    r"\b(?:introduce yourself|act as|pretend|you are (?:now )?an?\b|imagine you are|as if you|"
    r"in the (?:voice|tone|style|way) of|role ?play|take the role)\b",
    re.I,
)
POSITION = re.compile(
    rf"\b(?P<places>\d{{1,4}}(?:st|nd|rd|th)(?:(?:,| and|, and)\s*\d{{1,4}}(?:st|nd|rd|"
    rf"th))*) words? (?:to be|is|are|must be|should be)\s*(?P<list>{QUOTED}(?:\s*(?:,|"
    rf"and)\s*{QUOTED}){{0,9}})",
    re.I,
)
PARTS = re.compile(
    r"\b(?:describe|explain|discuss|include|cover|outline|list|name|identify|explain:|define|specify|"
    r"give|mention|detail)\b:?\s+(?:the\s+|its\s+|their\s+|both\s+|"
    r"how\s+)?(?P<list>[\w' -]{2,40}(?:,\s*(?:and\s+)?[\w' -]{2,40}){1,8}(?:,?\s*and\s+[\w' "
    r"-]{2,40})?)(?=[.?\n:]|$)",
    re.I,
)
FORM = re.compile(
    r"\b(?:write|create|compose|generate|make|draft|craft|produce|give|construct|come up with|design|"
    r"tell|complete|turn)\b(?:\s+(?:me|us|up|out|for me)){0,2}\s+(?:an?|one|the|your|another|some|two|"
    r"three|four|five|\d+)\s+(?:[\w-]+\s+){0,3}?(?<!-)(?P<form>poem|poetry|haiku|story|dialog(?:ue)?|"
    r"conversation|e-?mail|letter|quiz|questions?|equation|essay|sentence(?! (?:using|story))|title|"
    r"headline|list|recipe|limerick|joke|tweet|nickname|slogan|paragraph|summary|outline|metaphor|"
    r"simile|proverb|script)s?\b(?!-)",
    re.I,
)
