"""Clips to network inputs, a batch at a time, on the device the module is on.

Training uses `InputPipeline`: `VideoAugmentation` (or a centre crop) and ImageNet normalisation for the picture, a
random gain and `LogSpectrogram` for the sound. Every random number comes from an explicit generator; with a CPU
generator, CPU and GPU draw the same numbers.
"""

from avid_lab.transforms.picture import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    VideoAugmentation,
    centre_crop,
)
from avid_lab.transforms.pipeline import Clips, InputPipeline
from avid_lab.transforms.sound import LogSpectrogram
