"""Objectives: what a step minimises, made of a memory, negatives, a loss for every term, and the terms' weights.

One term asks "which instance is this?" of an embedding in one modality, with the answers in the memory of the same or
of the other modality: term ``v2a`` compares video embeddings with audio memories.

    AVID       tell a clip from all others by its memories
    CMA        AVID's terms plus mined positives: other instances that look and sound alike
    QueueAVID  Cross-AVID with the last embeddings as negatives (MoCo's queue)
    InBatch    any batch loss, for comparison; its memory serves mining and pictures only

Calling an objective changes no memory; ``objective.memory.update`` is the caller's own, visible step.
"""

from __future__ import annotations

from avid_lab.objectives.avid import AVID, QueueAVID
from avid_lab.objectives.base import Objective, ObjectiveOutput, Term, name_of
from avid_lab.objectives.cma import CMA
from avid_lab.objectives.gather import score_instances
from avid_lab.objectives.in_batch import InBatch
from avid_lab.objectives.negatives import draw_negatives

__all__ = [
    "AVID",
    "CMA",
    "InBatch",
    "Objective",
    "ObjectiveOutput",
    "QueueAVID",
    "Term",
    "draw_negatives",
    "name_of",
    "score_instances",
]
