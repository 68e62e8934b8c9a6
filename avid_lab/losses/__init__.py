r"""The losses, as pure functions. Scores s are similarities already divided by the temperature.

A *score loss* compares each query with memories; `AVID` and `CMA` call it once per term:

    nce_loss            -log e^s+ / (e^s+ + KZ) - sum_k log KZ / (e^s_k + KZ)  the paper's
    nce_softmax_loss    -log e^s+ / (e^s+ + sum_k e^s_k)                       InfoNCE, memory
    debiased_loss       -log e^s+ / (e^s+ + G),  G: negatives minus the expected false ones
    hard_negative_loss  the same, each negative weighted by e^(hardness s_k)

A *batch loss* compares the clips of one batch with each other; `InBatch` calls it:

    info_nce_loss       -log softmax over the batch, both directions           CLIP's
    sigmoid_loss        -sum log sigmoid(+-s), a binary decision per pair      SigLIP's
    robust_loss         info_nce_loss with a weight per pair and soft targets  Robust-xID's

Any function with the same signature can replace them (`ScoreLoss`, `BatchLoss`).
"""

from __future__ import annotations

from avid_lab.losses.batch import BatchLoss, info_nce_loss, sigmoid_loss
from avid_lab.losses.checks import check_embeddings, check_scores, check_temperature
from avid_lab.losses.robust import plausibility_weights, robust_loss, soft_info_nce_loss, soft_targets
from avid_lab.losses.scores import ScoreLoss, debiased_loss, hard_negative_loss, nce_loss, nce_softmax_loss

__all__ = [
    "BatchLoss",
    "ScoreLoss",
    "check_embeddings",
    "check_scores",
    "check_temperature",
    "debiased_loss",
    "hard_negative_loss",
    "info_nce_loss",
    "nce_loss",
    "nce_softmax_loss",
    "plausibility_weights",
    "robust_loss",
    "sigmoid_loss",
    "soft_info_nce_loss",
    "soft_targets",
]
