"""Cross-modal agreement: which instances are so alike in picture *and* sound that they should be positives?

Source: section 4 of the paper. With unit memories v, a, the agreement of instances i and j is

    consensus  min(v_i . v_j, a_i . a_j)      union  max(v_i . v_j, a_i . a_j)
    video      v_i . v_j                      audio  a_i . a_j

and the positives of i are the K others with the highest agreement. `positives_by_definition` says just that in four
lines; `mine_positives` gives the same answer for large N.
"""

from avid_lab.mining.agreement import AGREEMENTS, Agreement, agreement_named, agreement_scores
from avid_lab.mining.positives import (
    TILES_FROM,
    AgreementPlane,
    Positives,
    agreement_plane,
    check_mining,
    mine_positives,
    positives_by_definition,
)
