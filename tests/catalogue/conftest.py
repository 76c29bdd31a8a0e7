"""Overlay files for the tests."""

from collections.abc import Callable
from pathlib import Path

import pytest

from actors.catalogue import Catalogue, load
from schemas.errors import ConfigError

Overlaid = Callable[[str], Catalogue]
Refused = Callable[[str], ConfigError]

MY_MODEL = """
services:
  my-model:
    model: openai/anything
    api_base: http://127.0.0.1:9999/v1
    api_key_env: none
    price: {input_per_mtok: 0.1, output_per_mtok: 0.4}
"""


@pytest.fixture
def overlay(tmp_path: Path) -> Path:
    return tmp_path / "my.yaml"


@pytest.fixture
def overlaid(overlay: Path) -> Overlaid:
    """The catalogue with this text as its overlay."""

    def with_text(text: str) -> Catalogue:
        overlay.write_text(text, encoding="utf-8")
        return load(overlay)

    return with_text


@pytest.fixture
def refused(overlay: Path) -> Refused:
    """The error that this text as the overlay leads to; it names the overlay's file."""

    def with_text(text: str) -> ConfigError:
        overlay.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError) as caught:
            load(overlay)
        assert caught.value.file == str(overlay)
        return caught.value

    return with_text
