"""Objectives: what a training step minimises. They combine a memory, negatives, a loss per term, and term weights.

A term compares the embeddings of one modality with the memories of the same or the other modality: ``v2a`` compares
video embeddings with audio memories.

    AVID       distinguish a clip from all others by its memories
    CMA        AVID's terms plus mined positives: other instances that look and sound alike
    QueueAVID  Cross-AVID with the last embeddings as negatives (MoCo's queue)
    InBatch    any batch loss, for comparison; its memory is used for mining and plots only

Calling an objective does not change the memory; the caller does, with ``objective.memory.update``.
"""

from __future__ import annotations

from avid_lab.objectives.avid import AVID, QueueAVID
from avid_lab.objectives.base import Objective, ObjectiveOutput, Term, name_of
from avid_lab.objectives.cma import CMA
from avid_lab.objectives.gather import score_instances
from avid_lab.objectives.in_batch import InBatch
from avid_lab.objectives.negatives import draw_negatives
