"""What can be fetched: plain data. Sizes are those that the servers gave when this was written."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal
from urllib.parse import unquote, urlsplit

MB, GB = 10**6, 10**9


@dataclass(frozen=True)
class Remote:
    """A file on a server.

    Attributes:
        url: Its address.
        name: Its name here, possibly with a folder before it; by default the last part of the address.
        sha256: Its checksum, where it is known.
        unpack: Whether it is a zip or tar archive to unpack.
    """

    url: str
    name: str = ""
    sha256: str = ""
    unpack: bool = False

    @property
    def place(self) -> str:
        """Its path below the entry's folder."""
        return self.name or PurePosixPath(unquote(urlsplit(self.url).path)).name


@dataclass(frozen=True)
class Entry:
    """Something to fetch, or to get by hand.

    Attributes:
        name: What users type.
        kind: "weights" of a network, a "set" of clips, or only the "lists" of a set.
        purpose: What it is for.
        size: Bytes to download, about.
        licence: Its terms in a few words.
        page: Where the licence and the source are described.
        files: The files to fetch; none for an entry that is got by hand.
        lists: Addresses of lists, each line of which is the address of an archive to fetch and unpack.
        folder: Folder below that of everything fetched; by default the name.
        then: What to do next; ``{folder}`` is where the files are.
        by_hand: What to do where no command can.
    """

    name: str
    kind: Literal["weights", "set", "lists"]
    purpose: str
    size: int
    licence: str
    page: str
    files: tuple[Remote, ...] = ()
    lists: tuple[str, ...] = ()
    folder: str = ""
    then: str = ""
    by_hand: str = ""


_AUTHORS = "https://github.com/facebookresearch/AVID-CMA"
_CHECKPOINTS = "https://dl.fbaipublicfiles.com/avid-cma/checkpoints"
_KINETICS = "https://s3.amazonaws.com/kinetics/400"
_KINETICS_PAGE = "https://github.com/cvdfoundation/kinetics-dataset"
_KINETICS_LICENCE = "CC BY 4.0 (lists only)"  # the videos belong to those who uploaded them
_AUDIOSET = "http://storage.googleapis.com/us_audioset/youtube_corpus/v1/csv"
_UCF = "https://www.crcv.ucf.edu/data/UCF101"

# Mean and deviation of each bin of the authors' spectrograms: a network that hears other levels hears other sounds.
STATISTICS = Remote(
    "https://raw.githubusercontent.com/facebookresearch/AVID-CMA/main/datasets/assets/"
    "audio-spectDB-24k-513-norm-stats.npz",
    sha256="965205a18d613b688c2e41a7d60a33ca2b3576ac621a0e95f0832391b120d901",
)


def _weights(name: str, purpose: str, file: str) -> Entry:
    return Entry(
        name,
        "weights",
        purpose,
        85 * MB,
        "CC BY-NC 4.0 (research only)",
        _AUTHORS,
        (Remote(f"{_CHECKPOINTS}/{file}"), STATISTICS),
        folder="weights",
        then=f"avid-lab evaluate --weights {name} --data MANIFEST.csv",
    )


def _kinetics(part: str, annotations: str, purpose: str, size: int) -> Entry:
    return Entry(
        f"kinetics400-{part}",
        "set",
        purpose,
        size,
        _KINETICS_LICENCE,
        _KINETICS_PAGE,
        (Remote(f"{_KINETICS}/annotations/{annotations}"),),
        (f"{_KINETICS}/{part}/k400_{part}_path.txt",),
        folder="kinetics400",
        then="avid-lab data index {folder} --layout kinetics400",
    )


_ENTRIES = (
    _weights(
        "avid-cma-audioset",
        "the paper's network: AVID+CMA on AudioSet",
        "AVID-CMA_Audioset_InstX-N1024-PosW-N64-Top32_checkpoint.pth.tar",
    ),
    _weights("avid-audioset", "the same, before CMA", "AVID_Audioset_Cross-N1024_checkpoint.pth.tar"),
    _weights(
        "avid-cma-kinetics",
        "the paper's network: AVID+CMA on Kinetics-400",
        "AVID-CMA_Kinetics_InstX-N1024-PosW-N64-Top32_checkpoint.pth.tar",
    ),
    _weights("avid-kinetics", "the same, before CMA", "AVID_Kinetics_Cross-N1024_checkpoint.pth.tar"),
    Entry(
        "ave",
        "set",
        "4,097 videos of 10 s in 28 classes: small enough for a course",
        5700 * MB,
        "none stated",
        "https://github.com/YapengTian/AVE-ECCV18",
        (
            Remote(
                "https://drive.google.com/uc?id=1FjKwe79e0u96vdjIVwfRQ1V6SoDHe7kK", name="AVE_Dataset.zip", unpack=True
            ),
        ),
        then="avid-lab data index {folder} --layout ave",
        by_hand="If Google Drive refuses (it limits downloads a day), open the page in a browser, save the archive,\n"
        "and unpack it into a folder of its own.",
    ),
    Entry(
        "esc50",
        "set",
        "2,000 sounds of 5 s in 50 classes: probes of the ear",
        646 * MB,
        "CC BY-NC 3.0",
        "https://github.com/karolpiczak/ESC-50",
        (Remote("https://github.com/karolpiczak/ESC-50/archive/master.zip", name="esc50.zip", unpack=True),),
        then="avid-lab data index {folder} --layout esc50 --fold 1",
    ),
    Entry(
        "ucf101",
        "set",
        "13,320 videos of 101 actions, half of them silent: fine-tuning",
        6500 * MB,
        "none stated",
        "https://www.crcv.ucf.edu/data/UCF101.php",
        (
            Remote(
                f"{_UCF}/UCF101TrainTestSplits-RecognitionTask.zip",
                sha256="5c0d1a53b8ed364a2ac830a73f405e51bece7d98ce1254fd19ed4a36b224bd27",
                unpack=True,
            ),
            Remote(f"{_UCF}/UCF101.rar", sha256="ca8dfadb4c891cb11316f94d52b6b0ac2a11994e67a0cae227180cd160bd8e55"),
        ),
        then="unrar x {folder}/UCF101.rar {folder}/    (or: bsdtar -xf {folder}/UCF101.rar -C {folder})\n"
        "avid-lab data index {folder} --layout ucf101 --fold 1",
        by_hand="If the server's certificate is refused, save both files from the page with a browser.",
    ),
    Entry(
        "hmdb51",
        "set",
        "6,766 videos of 51 actions, most of them silent: fine-tuning",
        2 * GB,
        "CC BY 4.0",
        "https://serre.lab.brown.edu/hmdb51.html",
        then="avid-lab data index FOLDER --layout hmdb51 --fold 1",
        by_hand="The addresses that other projects name (serre-lab.clps.brown.edu) are of a site that has moved.\n"
        "1. From the page, save hmdb51_org.rar (videos) and test_train_splits.rar (lists) into FOLDER. SHA-256:\n"
        "   9e714a0d8b76104d76e932764a7ca636f929fff66279cda3f2e326fa912a328e  hmdb51_org.rar\n"
        "   229c94f845720d01eb3946d39f39292ea962d50a18136484aa47c1eba251d2b7  test_train_splits.rar\n"
        '2. Unpack both there, then each class\'s archive: for f in *.rar; do unrar x "$f"; done',
    ),
    _kinetics("val", "val.csv", "19,881 videos of 400 actions, in 20 archives", 31 * GB),
    _kinetics("train", "train.csv", "240,258 videos of 400 actions, in 242 archives", 376 * GB),
    Entry(
        "kinetics400-lists",
        "lists",
        "which clips are in Kinetics-400, and where its archives are",
        11 * MB,
        "CC BY 4.0",
        _KINETICS_PAGE,
        (
            *(Remote(f"{_KINETICS}/annotations/{part}.csv") for part in ("train", "val", "test")),
            *(Remote(f"{_KINETICS}/{part}/k400_{part}_path.txt") for part in ("train", "val", "test")),
        ),
        folder="kinetics400",
        then="avid-lab data index {folder} --layout kinetics400    (with the videos in that folder)",
    ),
    Entry(
        "vggsound-lists",
        "lists",
        "which 10 s of which YouTube video are in VGGSound",
        8 * MB,
        "CC BY 4.0",
        "https://github.com/hche11/VGGSound",
        (Remote("https://raw.githubusercontent.com/hche11/VGGSound/master/data/vggsound.csv"),),
        folder="vggsound",
        then="avid-lab data index {folder} --layout vggsound    (with the videos in that folder)",
        by_hand="The videos are not ours to give: the page says how others get them.",
    ),
    Entry(
        "audioset-lists",
        "lists",
        "which 10 s of which YouTube video are in AudioSet",
        105 * MB,
        "CC BY 4.0",
        "https://research.google.com/audioset/download.html",
        tuple(
            Remote(f"{_AUDIOSET}/{name}.csv")
            for name in (
                "class_labels_indices",
                "eval_segments",
                "balanced_train_segments",
                "unbalanced_train_segments",
            )
        ),
        folder="audioset",
        then="avid-lab data index {folder} --layout audioset    (with the videos in that folder)",
        by_hand="The videos are not ours to give: the page says how others get them.",
    ),
)

CATALOGUE: dict[str, Entry] = {entry.name: entry for entry in _ENTRIES}


def find(name: str) -> Entry:
    """The entry of this name.

    Raises:
        ValueError: There is none.
    """
    if name in CATALOGUE:
        return CATALOGUE[name]
    near = difflib.get_close_matches(name, CATALOGUE, 1, 0.5) or [n for n in CATALOGUE if n.startswith(name)]
    meant = f" Did you mean {near[0]}?" if near else ""
    raise ValueError(f"there is no {name!r} to fetch.{meant} `avid-lab fetch` lists what there is.")


def size_text(size: int) -> str:
    """Bytes in words."""
    if size < MB:
        return f"{size / 1000:.0f} kB"
    return f"{size / MB:.0f} MB" if size < GB else f"{size / GB:.{0 if size >= 10 * GB else 1}f} GB"
