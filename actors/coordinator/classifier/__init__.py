"""How hard a task is and what it is about, fitted to labelled prompts; no model is asked, nothing heavy is loaded."""

from actors.coordinator.classifier.choice import choose
from actors.coordinator.classifier.classify import Classification, classify, classify_text
from actors.coordinator.classifier.lexicon import DOMAINS
from actors.coordinator.classifier.tiers import THRESHOLDS

__all__ = ["DOMAINS", "THRESHOLDS", "Classification", "choose", "classify", "classify_text"]
