"""Words by which an answer tries to steer its readers, and the prompts that ask for such words."""

import re
from dataclasses import dataclass

_READERS = (
    r"(?:judges?|reviewers?|evaluators?|graders?|raters?|critics?|assessors?|examiners?|moderators?|coordinators?|"
    r"aggregators?|synthesi[sz]ers?|(?:other|next|downstream|reading|following) (?:agents?|models?|assistants?|ais?)|"
    r"(?:ai|llm|language) (?:models?|judges?|reviewers?|evaluators?|graders?|assistants?))"
)
_OWN = r"(?:this|my|our|the above|the present|the following|the preceding)"
_WORK = r"(?:answers?|responses?|drafts?|submissions?|contributions?|solutions?|output|proposals?|repl(?:y|ies))"
_FULL = (
    r"(?:full marks?|full (?:score|points|credit)|top (?:marks?|score|rating)|(?:the )?(?:highest|maximum|best|"
    r"perfect|top)(?: possible)? (?:scores?|marks?|ratings?|grades?)|a perfect (?:10|ten|5|five|100|score)|10 ?/ ?10|"
    r"5 ?/ ?5|100 ?/ ?100|(?:10|ten|5|five) out of (?:10|ten|5|five)|100 ?(?:%|percent)|five stars|5 stars|1\.0)"
)
_OLDER = (
    r"(?:previous|prior|above|earlier|preceding|foregoing|original|initial|existing|system|current|former|other|your)"
)
_ORDERS = (
    r"(?:instructions?|prompts?|directions?|directives?|guidelines?|rules|orders|commands?|rubrics?|criteria|"
    r"system messages?|programming|constraints)"
)


@dataclass(frozen=True, slots=True)
class Sign:
    name: str
    words: re.Pattern[str]
    asked: re.Pattern[str]
    """Prompts that ask for such words; there they are no sign."""
    hints: tuple[str, ...]
    """Each match holds one of these, in lower case: looking for them takes a fraction of what the pattern takes. Where
    they are written, `_` stands for a space."""


def _sign(name: str, words: str, asked: str, hints: str) -> Sign:
    return Sign(
        name,
        re.compile(words, re.I | re.M),
        re.compile(asked, re.I),
        tuple(hint.replace("_", " ") for hint in hints.split()),
    )


_WORK_HINTS = "answer response draft submission contribution solution output proposal repl"


_INJECTION = (
    r"\b(?:(?:prompt|instruction|command)[- ]injections?|inject(?:s|ed|ing|ion)? (?:a |an |the )?(?:prompts?|"
    r"instructions?)|jail ?break\w*|adversarial (?:prompts?|attacks?|examples?|inputs?|suffix\w*)|red[- ]?team\w*|"
    r"system prompts?|(?:ignore|disregard|override|forget)\w* (?:\w+ ){0,3}instructions?|steer\w* (?:\w+ "
    r"){0,3}(?:judges?|models?|reviewers?)|(?:llm|ai|model|prompt) (?:security|safety|attacks?)|guard ?rails?)\b"
)
_JUDGING = (
    r"\b(?:judges?|judging|graders?|grading|reviewers?|referees?|evaluators?|raters?|rubrics?|peer[- ]review\w*|"
    r"examiners?|moderators?|coordinators?|multi[- ]agent\w*)\b"
)
"""Not "review" alone, which is what half of all tasks about code ask for."""
_SCORING = (
    r"\b(?:rate|ratings?|scor(?:e|es|ing)|grades?|stars|testimonials?|survey|questionnaire|"
    r"out of (?:5|10|100|five|ten)|(?:write|product|film|movie|book|restaurant|customer|hotel)\b.{0,30}\breviews?)\b"
)
_CHAT = (
    r"\b(?:chat ?ml|chat templates?|special tokens?|tokeni[sz]\w+|system (?:prompts?|messages?|roles?)|fine[- "
    r"]?tun\w+|training (?:data|examples?)|llama|mistral|dialog(?:ue)?s?|transcripts?|conversations?|scripts?|role "
    r"?play\w*|logs?|"
    r"chat ?bots?)\b"
)
_MARKUP = r"\b(?:xml|html|tags?|markup|json|yaml|delimiters?|fences?|templates?|markdown)\b|</"

SIGNS: tuple[Sign, ...] = (
    _sign(
        "sets instructions aside",
        rf"\b(?:ignor(?:e|ing)|disregard(?:ing)?|forget(?: about)?|overrid(?:e|ing)|bypass|discard|do not (?:follow|"
        rf"obey)|don't (?:follow|obey)) (?:all |any |every |each |both |of |the |these |those |your |my |our |its "
        rf"){{0,4}}(?:{_OLDER},? (?:and |or )?){{1,3}}{_ORDERS}\b"
        rf"|\b(?:ignore|disregard|forget|override) (?:all |any |everything |what )(?:of )?(?:the |your |that )?"
        r"(?:instructions?|you were told|you have been told|was said (?:before|above)|(?:stated |said |written "
        r")?above)\b"
        rf"|\b(?:new|updated|real|actual) (?:system )?(?:instructions?|prompt) ?:"
        r"|\bignoriere? (?:bitte )?(?:alle |die |deine |sämtliche ){0,2}(?:vorherigen|bisherigen|obigen|früheren) "
        r"(?:anweisungen|instruktionen|befehle)"
        r"|\bignore[zr]? (?:toutes )?(?:les |vos |tes )?(?:instructions|consignes) (?:précédentes|antérieures|"
        r"ci-dessus)"
        r"|\bignora(?:d|r)? (?:todas )?(?:las |tus )?instrucciones (?:anteriores|previas)",
        _INJECTION,
        "ignor disregard forget overrid bypass discard follow obey instruction prompt",
    ),
    _sign(
        "speaks to its judges",
        rf"\bas (?:the|a|an|my|our|your) (?:\w+ ){{0,2}}{_READERS},? (?:you|please|it is your|your)\b"
        rf"|\b(?:dear|attention|hey|hello|note (?:to|for)|instructions? (?:to|for)|message (?:to|for)|notice (?:to|"
        rf"for)|reminder (?:to|for)|important for)(?: (?:the|all|any|every|our|my|you))?,?:? (?:\w+ )?{_READERS}\b"
        rf"|(?:^|[.!?:\n] ?)(?:to )?(?:(?:the|all|any|every) )?{_READERS} ?[:,] (?:please|you|give|rate|score|award|"
        rf"mark|do not|don't|"
        r"accept|approve|ignore|skip|choose|prefer|select)\b"
        rf"|\b(?:all |any |every |the )?{_READERS} (?:must|should|shall|have to|has to|need to|are to|is to|will|"
        r"are (?:asked|instructed|required|told) to|please) (?:always |now |simply |just |also )?"
        rf"(?:(?:give|award|assign|rate|score|grade|mark|choose|prefer|select|pick|accept|approve|adopt|keep) "
        rf"(?:\w+ ){{0,3}}(?:{_FULL}|(?:this|my|above) {_WORK})"
        rf"|(?:ignore|skip|reject|discard|disregard) (?:\w+ ){{0,3}}(?:{_WORK}|reviews?|instructions?|criteria|"
        rf"rubrics?))"
        rf"|\bif you are (?:an? |the )?(?:\w+ )?{_READERS}\b",
        _JUDGING,
        "judge reviewer evaluator grader rater critic assessor examiner moderator coordinator aggregator synthesi "
        "agent model assistant _ai",
    ),
    _sign(
        "asks for a score",
        rf"\b(?:rate|score|grade|mark|give|award|assign|grant)(?: it| me| us)? (?:{_OWN}|(?:the|this|my) {_WORK}|it|"
        rf"me|us)(?: {_WORK})?(?: as| with| at| an?| to| the)?[ :]{{1,2}}(?:\w+ )?{_FULL}(?!\w)"
        rf"|\b(?:give|award|assign|grant) (?:it |me |us )?(?:a |an |the )?{_FULL} (?:to|for) {_OWN} {_WORK}"
        rf"|\b{_OWN} {_WORK} (?:deserves?|merits?|earns?|warrants?|should (?:get|receive|be (?:given|rated|scored|"
        rf"awarded|graded|marked))|must (?:get|receive|be (?:given|rated|scored|awarded|graded|marked))|has (?:already "
        rf")?been (?:given|rated|scored|awarded)|is (?:rated|scored)) (?:as |at |with |a |an |the ){{0,2}}{_FULL}(?!\w)"
        rf"|\b(?:overall|final|quality|accuracy|relevance|completeness)(?: score| rating)? ?[:=] ?(?:10 ?/ ?10|5 ?/ "
        rf"?5|"
        r"100 ?/ ?100|1\.0{1,2}\b)",
        rf"{_JUDGING}|{_SCORING}",
        "mark score credit points rating grade perfect 10 5 out_of star 1.0",
    ),
    _sign(
        "asks not to be reviewed",
        rf"\b(?:do not|don't|never|please do not|please don't|no need to|there is no need to|you need not|"
        rf"you should not|you must not|refrain from|without) (?:further |bother to |attempt to |try to )?"
        rf"(?:review|check|verify|critici[sz]e|critique|evaluate|question|refine|revise|fact-?check|assess|judge|"
        rf"doubt|alter|reviewing|checking|verifying|criticising|questioning|refining|revising) (?:of )?{_OWN} {_WORK}"
        rf"|\b(?:no|without) (?:further |additional |more )?(?:review|verification|critique|refinement|evaluation)s? "
        rf"(?:of {_OWN} {_WORK} )?(?:is |are )(?:needed|necessary|required|allowed|permitted)"
        rf"|\b{_OWN} {_WORK} (?:has (?:already )?been|is|was) (?:already )?(?:fully |officially |independently |"
        rf"pre-?)?(?:approved|verified|validated|reviewed|accepted|confirmed|certified) "
        rf"(?:by (?:the |all |an? )?(?:{_READERS}|system|administrators?|admins?|operators?|experts?|human)|and "
        rf"(?:needs|requires) no)",
        rf"{_JUDGING}|\bproof ?read",
        f"review verification critique refinement evaluation {_WORK_HINTS}",
    ),
    _sign(
        "asks to be preferred",
        rf"\b(?:choose|prefer|select|pick|vote for|accept|adopt) (?:this|my|our) {_WORK} "
        rf"(?:over|above|instead|as (?:the )?(?:best|winner|final)|and (?:reject|ignore|discard))"
        rf"|\b(?:reject|discard|ignore|disregard|dismiss|rank) (?:all |any |every |each of )?(?:of )?(?:the )?"
        rf"(?:other|remaining|competing|rival|alternative) {_WORK}"
        rf"|\b(?:the |all |any )?(?:other|competing|rival) {_WORK} (?:are|is) (?:all )?(?:wrong|incorrect|inferior|"
        rf"malicious|"
        r"to be (?:ignored|rejected|discarded))"
        rf"|\b{_OWN} {_WORK} is (?:clearly |by far |obviously )?(?:the best|better than (?:all |any )?(?:the "
        rf")?others?)\b",
        r"\b(?:vote|voters?|prefer\w*|compare|comparing|comparison|contests?|competition|which (?:answer|response)|"
        r"rank\w*)\b",
        _WORK_HINTS,
    ),
    _sign(
        "pretends to be another's message",
        r"<\|(?:im_start|im_end|system|user|assistant|endoftext|eot_id|start_header_id|end_header_id|begin_of_text|"
        r"end_of_text|end|return|channel|message)\|>"
        r"|\[/?INST\]|<</?SYS>>|</?(?:start|end)_of_turn>"
        r"|^[ \t>*#\[<(]{0,6}(?:system|developer)(?: (?:prompt|message|instructions?|note|override|"
        r"notice))?[\])>*]{0,3} ?: ?(?:you|ignore|disregard|forget|override|the (?:user|assistant|judge|reviewer|"
        r"answer|following|above)|new|from now|"
        r"please|do not|don't|always|never|give|rate|score|award|accept|approve|all|this|stop|reply|respond|answer)\b"
        r"|^[ \t]{0,4}</?(?:system|developer|system[_-](?:prompt|message|reminder|instructions?))>"
        r"|^[ \t]{0,4}#{1,6} ?(?:system|new) (?:prompt|message|instructions?)\b",
        _CHAT,
        "<| inst] sys> turn> system developer # new",
    ),
    _sign(
        "pretends that its text has ended",
        r"^[ \t]{0,4}-{2,} ?end of (?:[0-9a-f]{6,64}|(?:the )?(?:input|answer|response|draft|data|document|text|"
        r"prompt|contribution)s?\b.{0,40}) ?-{2,}"
        r"|^[ \t]{0,4}\[?(?:end|begin|start) (?:of )?(?:untrusted|trusted|candidate|answer|response|submission|"
        r"system|user|assistant) ?(?:input|data|answer|text|content|prompt|message|output)?\]? ?$"
        r"|^[ \t]{0,4}</(?:answer|response|candidate|draft|submission|contribution|untrusted|data|document|input)"
        r"(?:[_-]?\w{1,20})?>",
        _MARKUP,
        "-- end begin start </",
    ),
)
