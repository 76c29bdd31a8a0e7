"""How much of an answer is neither the prompt's words nor its own again: what counting can say of innovation."""

from collections import Counter

from actors.quality.text import Reading, stem

FEWEST_WORDS = 20
_WINDOW = 50


def novelty(reading: Reading, prompt: Reading) -> float | None:
    """A fraction: how varied its words are, times the share of them that it brings; `None` for a short answer.

    Variety is the share of different words in a window of 50, moved along the text, so that length does not count.

    Source:
        Covington & McFall, "Cutting the Gordian Knot: The Moving-Average Type-Token Ratio", 2010.
    """
    words = [stem(word) for word in reading.words]
    if len(words) < FEWEST_WORDS:
        return None
    window = min(_WINDOW, len(words))
    counted = Counter(words[:window])
    total, places = len(counted), 1
    for at in range(window, len(words)):
        leaving = words[at - window]
        counted[leaving] -= 1
        if not counted[leaving]:
            del counted[leaving]
        counted[words[at]] += 1
        total, places = total + len(counted), places + 1
    variety = total / places / window
    content = reading.content
    own = sum(word not in prompt.stems for word in content) / len(content) if content else 0.0
    return max(0.0, min(1.0, variety * (0.5 + 0.5 * own)))
