"""Which models and providers there are to ask, looked up without importing litellm."""

import importlib.util
import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

from actors.catalogue.endpoints import ENDPOINTS
from schemas.service import ServiceKind

EMBEDDED_MODELS: Mapping[ServiceKind, tuple[str, ...]] = MappingProxyType(
    {
        "chat": ("smollm2-135m-instruct",),
        "embeddings": ("wordllama-256",),
        "image": ("stable-diffusion-xl-base-1.0",),
    }
)
"""What follows `embedded/`."""
EMBEDDED_DIMENSIONS: Mapping[str, int] = MappingProxyType({"wordllama-256": 256})
"""Floats of a vector."""

_ENUM = re.compile(r"^class LlmProviders\(.*?(?=^\S)", re.MULTILINE | re.DOTALL)
_VALUE = re.compile(r'^    \w+ = "([^"]+)"', re.MULTILINE)


@cache
def providers() -> frozenset[str]:
    """Every provider that can be asked: ours, and litellm's as its sources list them. A few ms once."""
    known = {"openai", *ENDPOINTS}
    found = importlib.util.find_spec("litellm")
    for folder in map(Path, (found.submodule_search_locations or ()) if found else ()):
        if (enum := _ENUM.search((folder / "types" / "utils.py").read_text())) is not None:
            known.update(_VALUE.findall(enum[0]))
        known.update(json.loads((folder / "llms" / "openai_like" / "providers.json").read_bytes()))
    return frozenset(known)
