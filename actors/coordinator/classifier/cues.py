"""Finds words and phrases of several tables in one pass."""

from collections.abc import Iterable, Mapping, Sequence

Found = tuple[tuple[str, str], ...]
"""Pairs of a table's name and the cue of it that was met."""


class Cues:
    """Tables of words and phrases to look for, `*` for any ending; a hyphen joins the words of a phrase."""

    def __init__(self, tables: Mapping[str, str]) -> None:
        self._whole: dict[str, list[str]] = {}
        self._stems: dict[str, list[str]] = {}
        for name, cues in tables.items():
            for cue in cues.split():
                known = self._stems if cue.endswith("*") else self._whole
                known.setdefault(cue.removesuffix("*").replace("-", " "), []).append(name)
        phrases = [phrase for phrase in [*self._whole, *self._stems] if " " in phrase]
        self.firsts = frozenset(phrase.split(" ")[0] for phrase in phrases)
        """Words that may begin a phrase."""
        self._most_words = max((phrase.count(" ") + 1 for phrase in phrases), default=1)
        self._stem_lengths = range(
            min((len(stem) for stem in self._stems), default=1), max((len(stem) for stem in self._stems), default=0) + 1
        )

    def phrases(self, words: Sequence[str], place: int) -> Iterable[str]:
        """Runs of words from this place on that are long enough to be a phrase."""
        return (
            " ".join(words[place : place + length])
            for length in range(2, min(self._most_words, len(words) - place) + 1)
        )

    def of(self, text: str) -> Found:
        """What a word or a run of words is a cue of."""
        found = [(name, text) for name in self._whole.get(text, ())]
        for end in self._stem_lengths:
            if end > len(text):
                break
            found += [(name, text[:end]) for name in self._stems.get(text[:end], ())]
        return tuple(found)
