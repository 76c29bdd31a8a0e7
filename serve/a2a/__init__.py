"""The door for other agents: A2A over JSON-RPC, and the card by which they find it."""

from serve.a2a.card import CARD, PATH
from serve.a2a.door import router

__all__ = ["CARD", "PATH", "router"]
