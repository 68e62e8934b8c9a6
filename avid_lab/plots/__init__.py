"""Plots of clips, training and embeddings: arrays in, matplotlib axes or a figure out.

Every function takes ``ax=None``: without axes it makes its own figure, which a notebook shows at the end of a cell,
without ``%matplotlib`` or pyplot. You may change titles, labels and limits of the result.
"""

from __future__ import annotations

from avid_lab.plots.agreement import agreement_plane, agreement_planes, scene_grid
from avid_lab.plots.circles import circles
from avid_lab.plots.clips import clip_sheet, spectrograms
from avid_lab.plots.comparison import (
    beliefs,
    differences,
    dumbbells,
    reliability_curves,
    seed_differences,
    shares,
    tracks,
)
from avid_lab.plots.curves import accuracy_bars, loss_terms, recall_bars
from avid_lab.plots.evaluation import collapse_panels, estimate_rows, seed_rows
from avid_lab.plots.grids import contact_sheet, grid
from avid_lab.plots.lines import curve_panels, curves
from avid_lab.plots.method import method, method_film
from avid_lab.plots.spaces import blocks, confusion, embedding_map, histograms, similarity_histograms
from avid_lab.plots.style import dark
