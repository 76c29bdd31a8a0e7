"""Good answers made worse in eight known ways, so that it can be seen whether a score notices."""

import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Pair:
    """A prompt, an answer to it, and the same answer damaged."""

    kind: str
    prompt: str
    sound: str
    damaged: str


FLATTERY = (
    "What a truly wonderful question! You are clearly a brilliant and insightful person, and I am "
    "deeply impressed by how "
    "thoughtfully you have put this. It is an absolute honour to assist someone of your "
    "intelligence. This is a complete, "
    "excellent and perfect answer that covers everything you could wish for. Thank you so much for asking!"
)
# ruff: noqa: ARG001, RUF001  (each kind takes what the others need; foreign letters are meant)
FOREIGN = (
    "Das ist eine Frage, die man auf verschiedene Weise beantworten kann. Zuerst sollte man die "
    "wichtigsten Punkte nennen, "
    "und danach kann man sie im Einzelnen erklären, damit alle sie verstehen.",
    "C'est une question à laquelle on peut répondre de plusieurs façons. Il faut d'abord citer les points les plus "
    "importants, puis les expliquer un par un pour que tout le monde les comprenne.",
    "Esta es una pregunta que se puede responder de varias maneras. Primero hay que nombrar los "
    "puntos más importantes y "
    "después explicarlos uno por uno para que todos los entiendan.",
    "Questa è una domanda alla quale si può rispondere in modi diversi. Prima bisogna indicare i "
    "punti più importanti e poi "
    "spiegarli uno per uno, in modo che tutti li capiscano.",
    "Это вопрос, на который можно ответить по-разному. Сначала нужно назвать самые важные пункты, а "
    "затем объяснить их по "
    "порядку, чтобы все их поняли.",
    "这个问题可以用不同的方式来回答。首先应该说明最重要的几点,然后逐一解释,让大家都能理解。",
)


def cut(prompt: str, answer: str, other: str, chance: random.Random) -> Pair:
    """It stops somewhere between a third and four fifths."""
    at = max(1, round(len(answer) * chance.uniform(0.33, 0.8)))
    return Pair("cut", prompt, answer, answer[:at].rstrip())


def off_topic(prompt: str, answer: str, other: str, chance: random.Random) -> Pair:
    """What was said to somebody else."""
    return Pair("off-topic", prompt, answer, other)


def repeated(prompt: str, answer: str, other: str, chance: random.Random) -> Pair:
    """All of it again, or every sentence of it."""
    if chance.random() < 0.5:
        return Pair("repeated", prompt, answer, "\n\n".join([answer] * chance.randint(2, 4)))
    sentences = re.split(r"(?<=[.!?])\s+", answer)
    return Pair("repeated", prompt, answer, " ".join(s for s in sentences for _ in range(chance.randint(2, 3))))


def constraint(prompt: str, answer: str, other: str, chance: random.Random) -> Pair:
    """A constraint that it keeps is asked for, and then broken."""
    words = answer.split()
    match chance.randint(0, 3):
        case 0:
            more = " ".join([answer, *other.split()[: len(words) // 2 + 10]])
            return Pair("constraint", f"{prompt}\nUse at most {len(words)} words.", answer, more)
        case 1:
            word = next(w for w in ("zebra", "harvest", "velvet", "compass") if w not in answer.lower())
            at = len(words) // 2
            return Pair(
                "constraint",
                f'{prompt}\nDo not use the word "{word}".',
                answer,
                " ".join([*words[:at], word, *words[at:]]),
            )
        case 2:
            longest = max(re.findall(r"(?<!\S)[A-Za-z]+(?=[.,;:!?]*(?:\s|$))", answer), key=len, default="it")
            kept = re.sub(rf"(?i)\b{re.escape(longest)}\b", "thing", answer)
            return Pair("constraint", f'{prompt}\nInclude the word "{longest}".', answer, kept)
        case _:
            return Pair(
                "constraint",
                f'{prompt}\nStart your answer with the words "{" ".join(words[:2])}".',
                answer,
                "Well now, " + answer,
            )


def arithmetic(prompt: str, answer: str, other: str, chance: random.Random) -> Pair:
    """A calculation in it is wrong: one of its own, or one that is put in."""
    own = list(re.finditer(r"\d+\s*[-+*×x/]\s*\d+\s*=\s*(\d+)\b(?![.,/]\d)", answer))
    if own:
        match = chance.choice(own)
        wrong = str(int(match[1]) + chance.choice((1, 2, 10)))
        return Pair("arithmetic", prompt, answer, answer[: match.start(1)] + wrong + answer[match.end(1) :])
    a, b = chance.randint(3, 90), chance.randint(3, 40)
    off = chance.choice((-2, -1, 1, 3, 10))
    said = chance.choice(
        (
            f"Note that {a} + {b} = {a + b + off}.",
            f"In numbers, {a} × {b} = {a * b + off}.",
            f"After all, {a} plus {b} is {a + b + off}.",
            f"That makes {a * b} / {b} = {a + abs(off)}.",
            f"The sum of {a} and {b} is {a + b + off}.",
            f"We have {a + b} - {b} = {a + off} in all.",
        )
    )
    return Pair(
        "arithmetic", prompt, answer, f"{answer.rstrip()}\n{said}" if chance.random() < 0.5 else f"{said}\n{answer}"
    )


def invalid_json(prompt: str, answer: str, other: str, chance: random.Random) -> Pair:
    """JSON is asked for and given; then it is broken."""
    text = json.dumps({"answer": answer}, ensure_ascii=False)
    if chance.random() < 0.3:
        text = f"```json\n{text}\n```"
        broken = text.replace('"}', '"', 1) if chance.random() < 0.5 else text.replace('"answer":', "answer:", 1)
    else:
        broken = chance.choice(
            (text[:-1], text[:-2] + "}", text.replace('": "', '" "', 1), "{'answer': " + text[11:], text[:-1] + ",}")
        )
    return Pair("invalid JSON", f'{prompt}\nGive the answer as JSON with the one key "answer".', text, broken)


def foreign(prompt: str, answer: str, other: str, chance: random.Random) -> Pair:
    """A language that nobody asked for."""
    return Pair("wrong language", prompt, answer, chance.choice(FOREIGN))


def flattery(prompt: str, answer: str, other: str, chance: random.Random) -> Pair:
    """A fixed text that praises the asker and itself."""
    return Pair("flattery", prompt, answer, FLATTERY)


KINDS: tuple[Callable[[str, str, str, random.Random], Pair], ...] = (
    cut, off_topic, repeated, constraint, arithmetic, invalid_json, foreign, flattery,
)  # fmt: skip


def damage(answers: list[tuple[str, str]], count: int, seed: int) -> list[Pair]:
    """
    Args:
        answers: prompts and answers to them.
        count: how many pairs; each kind gets an equal share.
    """
    chance = random.Random(seed)
    chosen = chance.sample(answers, min(count, len(answers)))
    pairs = []
    for place, (prompt, answer) in enumerate(chosen):
        others = [text for asked, text in chance.sample(answers, 8) if asked[:60] != prompt[:60] and text != answer]
        pairs.append(KINDS[place % len(KINDS)](prompt, answer, others[0], chance))
    return pairs
