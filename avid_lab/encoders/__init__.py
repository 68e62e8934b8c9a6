"""The two encoders of AVID, each with a projection head.

`blocks` has the convolutions, `networks` stacks them into the video and the audio network, `model` joins the two, and
`released` reads the files of the authors' networks.
Shapes: video (B, 3, T, H, W), spectrogram (B, 1, frames, bins), features (B, F), embeddings (B, D) of unit length.
Source: Morgado, Vasconcelos, Misra, "Audio-Visual Instance Discrimination with Cross-Modal Agreement", section 3.
"""

from __future__ import annotations

from avid_lab.encoders.blocks import AudioBlock, FactoredConv3d, ProjectionHead, VideoBlock
from avid_lab.encoders.model import AudioVisualModel
from avid_lab.encoders.networks import AudioEncoder, Encoder, TorchvisionVideoEncoder, VideoEncoder
