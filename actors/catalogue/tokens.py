"""How many tokens a question takes before anybody has counted them: at most, for reservations; and about."""

import math

IMAGE_TOKENS = 16_384
"""More than any provider of the catalogue counts for one image at its finest."""
LIKELY_IMAGE_TOKENS = 1_600
"""Of a large image; smaller ones take fewer. For estimates, never for bounds.

Source: Anthropic, "Vision: calculate image costs".
"""
MESSAGE_TOKENS = 16
"""Per message, for the wrapping that providers add; with a token never shorter than a byte, an upper bound."""
BYTES_PER_TOKEN = 4
"""Of English text, about; other languages and code have fewer. For estimates, never for bounds.

Source: OpenAI, "What are tokens and how to count them?".
"""


def most_tokens(size: int, messages: int, images: int = 0) -> int:
    """The most tokens that a question can take; `size` in bytes of UTF-8, all its messages together."""
    return size + MESSAGE_TOKENS * messages + IMAGE_TOKENS * images


def likely_tokens(size: int) -> int:
    """About how many tokens a text of so many bytes takes."""
    return math.ceil(size / BYTES_PER_TOKEN)
