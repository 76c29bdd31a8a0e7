"""What the classifier looks for in a prompt: terms of trades, and words that order, demand, bind and follow.

English words; whole ones only, `*` stands for any ending, a hyphen joins the words of a phrase.
"""

# The order of domains breaks ties.
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
investigate justify label launch list locate make map match measure merge migrate model modify name normalise normalize
optimise optimize organise organize outline paraphrase parse perform plan plot predict prepare present prioritise
prioritize produce proofread propose prove provide publish rank rate recommend redesign reduce refactor refine
rename render rephrase replace report research resolve review revise rewrite run schedule select set show
simplify simulate sketch solve sort specify split state structure suggest summarise summarize survey tell test
transform translate trace unscramble update validate verify visualise visualize write
"""
MAKING = """
arrange build compile compose craft create deliver design develop devise draft draw launch make organise organize
outline plan prepare produce propose publish set write
"""
LEAD_INS = """
please then and also finally next first second secondly third thirdly now afterwards lastly so or but both
kindly you should must will need to i want would like can could help me us let's lets we i'd your task is just
"""
UNITS = """
words sentences paragraphs lines characters pages tokens letters minutes hours days weeks months years seconds
times points percent dollars euros degrees levels syllables digits decimals places
"""
CLOSED = (
    "option options either yes-or-no true-or-false choose-the which-of-the classify classification multiple-choice "
    "answer-with label entailment neutral contradiction correct-answer identify-whether"
)
PERSONAL = """
i me my mine you your yours he him his she her hers we us our they them their i'm i've i'd you're he's she's it's
"""
NUMBERS = {
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
