"""TEMPORARY: replaced whole by the classifier's author."""
from dataclasses import dataclass
@dataclass
class Classification:
    tier: str = "simple"; difficulty: float = 0.1; domains: tuple = (); features: dict = None; reasons: tuple = ()
def classify(request): return Classification(features={})
def choose(c, asked, built): return "simple", ()
