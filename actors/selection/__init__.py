"""Which service serves: predictions for each that may, weighed as the kind of work asks, with the reasons."""

from actors.selection.explanation import explain
from actors.selection.figures import LatestFigures
from actors.selection.predictor import Features, Prediction, Predictor, PriorPredictor
from actors.selection.selection import Candidate, Choice, Selection, Weighed
from actors.selection.selector import Selector

__all__ = [
    "Candidate",
    "Choice",
    "Features",
    "LatestFigures",
    "Prediction",
    "Predictor",
    "PriorPredictor",
    "Selection",
    "Selector",
    "Weighed",
    "explain",
]
