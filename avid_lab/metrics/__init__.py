"""What is measured: retrieval, the precision of positives, and how well similarity tells same from different.

Every figure comes with its chance level, computed from the labels, so that no number stands alone.
"""

from __future__ import annotations

from avid_lab.metrics.positives import drawn_false_negatives, false_negative_rate, positive_precision
from avid_lab.metrics.retrieval import Retrieval, retrieval
from avid_lab.metrics.similarity import Calibration, calibration, chance_accuracy, knn_accuracy, mean_and_spread

__all__ = [
    "Calibration",
    "Retrieval",
    "calibration",
    "chance_accuracy",
    "drawn_false_negatives",
    "false_negative_rate",
    "knn_accuracy",
    "mean_and_spread",
    "positive_precision",
    "retrieval",
]
