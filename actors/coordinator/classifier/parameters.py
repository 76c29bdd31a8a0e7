"""What was fitted, as `bench/fit_complexity.py` wrote it: numbers, words of a vocabulary, and hashes."""

import json
from array import array
from base64 import b64decode
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any
from zlib import crc32

from schemas.task import Tier

FILE = "parameters.json"


def token_key(before: str, word: str) -> int:
    """32 bits for two words that stand side by side, or for one word by itself."""
    return crc32(f"{before} {word}".encode("utf-8", "surrogatepass"))


@dataclass(frozen=True, slots=True)
class Weight:
    """How one feature counts: `value` for each `scale` that it lies above `mean`, and no more than three of them."""

    name: str
    mean: float
    scale: float
    value: float


@dataclass(frozen=True, slots=True)
class Bound:
    """Where a tier begins: as many lie in it or above as under it where the level foreseen is `centre`."""

    centre: float
    spread: float


@dataclass(frozen=True, slots=True)
class Parameters:
    intercept: float
    features: tuple[Weight, ...]
    usual_wording: float
    """What meanings and tokens together add on average."""
    meanings: dict[str, float]
    """A weight for each word and piece of a word of a vocabulary: its embedding in the direction that was fitted."""
    tokens: dict[int, float]
    """A weight for words and pairs of words, by their keys."""
    fields: dict[str, str]
    """The domain of words that lie near to its terms by their embeddings."""
    slope: float
    offset: float
    """The level to be expected is `offset + slope * raw`, by predictions for prompts that were not learned from."""
    bounds: dict[Tier, Bound]


@lru_cache(maxsize=1)
def fitted() -> Parameters:
    """The committed parameters, read once."""
    return of_document(json.loads(files(__package__).joinpath(FILE).read_text("utf-8")))


def of_document(document: dict[str, Any]) -> Parameters:
    meanings, tokens, fields = document["meanings"], document["tokens"], document["fields"]
    keys = array("I", b64decode(tokens["keys"]))
    return Parameters(
        intercept=document["intercept"],
        usual_wording=document["usual_wording"],
        features=tuple(Weight(**each) for each in document["features"]),
        meanings=dict(zip(meanings["words"].split(), _scaled(meanings), strict=True)),
        tokens=dict(zip(keys, _scaled(tokens), strict=True)),
        fields={word: domain for domain, words in fields.items() for word in words.split()},
        slope=document["calibration"]["slope"],
        offset=document["calibration"]["offset"],
        bounds={tier: Bound(**bound) for tier, bound in document["calibration"]["bounds"].items()},
    )


def _scaled(coded: dict[str, Any]) -> list[float]:
    scale = coded["scale"]
    return [scale * value for value in array("b", b64decode(coded["weights"]))]
