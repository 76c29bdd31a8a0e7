"""Anthropic's doors: messages, and how many tokens they take about."""

from serve.anthropic.door import router

__all__ = ["router"]
