"""Loads the weights that the paper's authors released.

There are four models of the "paper" preset: AVID and AVID-CMA, each trained on Kinetics and on AudioSet. Their licence
is CC BY-NC: for research. Their input, as in ``PRESETS["paper"]``:

* video: 0.5 s, 8 frames at 16 per second, 224 x 224, ImageNet mean and standard deviation;
* audio: 2 s at 24 kHz, mono; 200 x 257 log spectrogram (STFT of length 1024 every 10 ms, power, bins averaged in pairs,
  decibels with top_db 100), z-scored per bin. The statistics are in a file of their own, which `avid-lab fetch` gets
  with the weights; `released_pipeline` reads it.

A file is a dict with ``model`` and, in training files, ``train_criterion`` (memories, positives, the shared Z). It is
read with ``weights_only``, so no code in it ever runs.
"""

from __future__ import annotations

from avid_lab.encoders.released import CheckpointError, from_official
from avid_lab.official.files import (
    OfficialCriterion,
    load_official,
    load_official_criterion,
    load_official_memory,
    released_pipeline,
)
from avid_lab.official.names import to_official
