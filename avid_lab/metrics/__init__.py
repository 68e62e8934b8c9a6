"""Metrics: retrieval, positives, separation and calibration of similarities, and collapse.

Every score comes with its chance level, computed from the labels. `Estimate` adds an interval and the score of the
network at random initialisation.
"""

from __future__ import annotations

from avid_lab.metrics.collapse import alignment, effective_rank, uniformity, uniformity_of_the_sphere
from avid_lab.metrics.intervals import (
    Estimate,
    Share,
    bootstrap,
    estimate,
    estimate_weighted,
    mean_and_margin,
    mean_and_spread,
    share,
    sign_test,
)
from avid_lab.metrics.neighbours import (
    chance_accuracy,
    knn_accuracy,
    knn_predict,
    vote_of_nearest,
)
from avid_lab.metrics.pairs import (
    Calibration,
    Pairs,
    Separation,
    auc,
    calibration,
    pairs,
    separation,
    separation_estimates,
    weighted_separation,
)
from avid_lab.metrics.positives import (
    drawn_false_negatives,
    false_negative_rate,
    false_negatives_of_each,
    positive_precision,
    precision_of_each,
)
from avid_lab.metrics.reliability import Reliability, fit_probability, reliability
from avid_lab.metrics.retrieval import Retrieval, retrieval
