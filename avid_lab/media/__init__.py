"""Video files to tensors and back: `probe`, `read_clip`, `write_clip`. The only package that touches PyAV.

All times are seconds from the beginning of the file, the moment its first stream (picture or sound) starts: a recording
whose timestamps begin at 43,622 s begins at 0 here. Ranges are half-open. Every problem of a file is a `MediaError`.
"""

from avid_lab.media.read import probe, read_clip
from avid_lab.media.types import AudioStream, Clip, MediaError, MediaInfo, VideoStream
from avid_lab.media.write import write_clip

__all__ = ["AudioStream", "Clip", "MediaError", "MediaInfo", "VideoStream", "probe", "read_clip", "write_clip"]
