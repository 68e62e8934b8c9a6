"""Evaluates a trained model as in the paper: retrieval, neighbours, probes, fine-tuning, calibration.

Every number comes with chance, the value of the same network at random initialisation, and an interval. Nothing here
changes a weight or a batch-norm statistic of the evaluated model.

    test = evaluation.embed(model, clips.select(split="test"), pipeline)
    evaluation.retrieval_table(test)

`embeddings` runs the model; `spaces`, `probes` and `finetuning` evaluate its output, each as a `Table`; `scores` is the
quick summary; `protocols` lists everything by name.
"""

from __future__ import annotations

from avid_lab.evaluation.embeddings import (
    BlockFeatures,
    Embeddings,
    block_features,
    embed,
    random_twin,
)
from avid_lab.evaluation.finetuning import FineTuneConfig, FineTuned, fine_tune, fine_tune_table
from avid_lab.evaluation.probes import (
    LinearClassifier,
    fit_linear,
    fit_svm,
    label_fraction_table,
    labelled_subset,
    linear_probe,
    probe_table,
)
from avid_lab.evaluation.protocols import PROTOCOLS, QUICK, Subject, evaluate
from avid_lab.evaluation.results import Table
from avid_lab.evaluation.scores import Scores, chance_scores, compare, score, table
from avid_lab.evaluation.spaces import (
    SimilarityReport,
    collapse_table,
    curve_errors,
    instance_table,
    knn_table,
    levels,
    positives_table,
    retrieval_table,
    similarity_report,
)
