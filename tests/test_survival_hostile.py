"""Hostile files and texts: nothing in them is executed, they stay in their folder, and they take no memory."""

from __future__ import annotations

import io
import os
import pickle
import struct
import subprocess
import sys
import urllib.error
import urllib.request
import warnings
import zipfile
import zlib
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from browser import CHROMIUM, TOKEN
from ipywidgets import HTML
from test_datasets import AUDIO, VIDEO, write_ramp

from avid_lab import checkpoints, media
from avid_lab.archives import find_member
from avid_lab.config import PRESETS
from avid_lab.course.badge import Box
from avid_lab.datasets import ClipDataset, Manifest, Record, cache
from avid_lab.fetching import STATISTICS
from avid_lab.interactive import (
    CalibrationExplorer,
    EmbeddingMap,
    NCEMicroscope,
    PositiveBrowser,
    RetrievalExplorer,
    players,
)
from avid_lab.interactive.own_clips import own_copy
from avid_lab.interactive.panel import _descendants
from avid_lab.official import load_official, load_official_memory, released_pipeline
from avid_lab.reference import runs

ROOT = Path(__file__).parents[1]


# Pickles


class Payload:
    """Unpickled, it makes a folder."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return os.mkdir, (str(self.place),)


def hostile_files(folder, place):
    """One file of every kind that can hold a pickle."""
    load = Payload(place)
    kinds = {
        "bare": lambda file: pickle.dump(load, file),
        "dict": lambda file: pickle.dump({"model": load, "format": 3, "trainer": load, "train_criterion": load}, file),
        "zip": lambda file: torch.save({"model": load, "format": 3, "trainer": load}, file),
        "legacy": lambda file: torch.save({"model": load}, file, _use_new_zipfile_serialization=False),
        "npz": lambda file: np.savez(file, mean=np.array([load], object), std=np.array([load], object), begins=[load]),
        "npy": lambda file: np.save(file, np.array([load], object)),
    }
    for name, write in kinds.items():
        with (folder / name).open("wb") as file:
            write(file)
        yield folder / name


def test_no_loader_executes_a_pickle(tmp_path):
    place = tmp_path / "executed"
    (folder := tmp_path / "files").mkdir()
    loaders = [checkpoints.load_model, checkpoints.load_objective, checkpoints.load_weights, runs.read]
    loaders += [load_official, load_official_memory, statistics_of, cache_of]
    for path in hostile_files(folder, place):
        for loader in loaders:
            with pytest.raises(ValueError, match="not a|no such|must|checkpoint"):
                loader(path)
            assert not place.exists(), f"{loader} executed {path.name}"
    with (folder / "bare").open("rb") as file:
        pickle.load(file)
    assert place.exists()  # it would have been seen


def statistics_of(path):
    (path.parent / STATISTICS.place).parent.mkdir(parents=True, exist_ok=True)
    (path.parent / STATISTICS.place).write_bytes(path.read_bytes())
    return released_pipeline(path.parent / "weights", PRESETS["paper"])


def cache_of(path):
    (path.parent / "index.npz").write_bytes(path.read_bytes())
    (path.parent / "meta.json").write_text('{"format": 3, "failed": {}}')
    layout = cache.Layout(8, 8.0, 8000, np.array([0, 1]), np.array([0, 1]))
    if cache._load(path.parent, layout) is None:
        raise ValueError("not a cache")


# Places


@pytest.mark.parametrize(
    "name", ["../x.mp4", "/etc/passwd", "a/../../x", "..\\x", "C:\\x", "C:x", "\\\\host\\x", "\\x"]
)
def test_no_path_of_a_manifest_leaves_its_folder(tmp_path, name):
    (tmp_path / "manifest.csv").write_text(f"id,path,label,duration_s,split\n1,{name},a,1.0,train\n")
    with pytest.raises(ValueError, match="stay inside the manifest's folder"):
        Manifest.read(tmp_path / "manifest.csv")


def test_no_member_of_an_archive_is_another_file(tmp_path):
    import tarfile

    (tmp_path / "secret").write_text("words")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, kind in (("link", tarfile.SYMTYPE), ("hard", tarfile.LNKTYPE), ("device", tarfile.CHRTYPE)):
            entry = tarfile.TarInfo(f"{name}.mp4")
            entry.type, entry.linkname = kind, "../secret"
            archive.addfile(entry)
    for name in ("link", "hard", "device"):
        assert find_member(tmp_path / "a.tar" / f"{name}.mp4") is None
        with pytest.raises(media.MediaError, match="has no such file"):
            media.probe(tmp_path / "a.tar" / f"{name}.mp4")


@pytest.mark.parametrize("text", ["#EXTM3U\n#EXTINF:1,\n{}\n", "ffconcat version 1.0\nfile '{}'\n"])
@pytest.mark.parametrize("ending", ["mp4", "m3u8", "txt", "avi"])
def test_no_file_refers_to_another(tmp_path, text, ending):
    other = write_ramp(tmp_path / "other.mp4", 1.0)
    path = tmp_path / f"list.{ending}"
    path.write_text(text.format(other))
    with pytest.raises(media.MediaError):
        media.probe(path)


# Sizes


def test_compressed_records_of_a_checkpoint_are_refused(tmp_path):
    torch.save({"format": 3, "x": torch.zeros(2**20)}, tmp_path / "plain.pt")
    with zipfile.ZipFile(tmp_path / "plain.pt") as plain, zipfile.ZipFile(tmp_path / "bomb.pt", "w") as bomb:
        for entry in plain.infolist():
            bomb.writestr(entry.filename, plain.read(entry), zipfile.ZIP_DEFLATED)
    assert (tmp_path / "bomb.pt").stat().st_size < 50_000
    for loader in (checkpoints.load_model, load_official, checkpoints.load_weights):
        with pytest.raises(checkpoints.CheckpointError, match="compressed"):
            loader(tmp_path / "bomb.pt")


def test_a_tensor_larger_than_its_file_is_refused(tmp_path):
    huge = torch.zeros(1).expand(10**6, 10**6)
    torch.save({"format": 3, "trainer": {"model": {"x": huge}}}, tmp_path / "ours.pt")
    torch.save({"train_criterion": {"memory.view1_mem": huge, "memory.view2_mem": huge}}, tmp_path / "theirs.pt")
    for loader in (checkpoints.load_model, checkpoints.load_objective):
        with pytest.raises(checkpoints.CheckpointError, match="larger than the file"):
            loader(tmp_path / "ours.pt")
    with pytest.raises(checkpoints.CheckpointError, match="larger than the file"):
        load_official_memory(tmp_path / "theirs.pt")


def test_statistics_that_unpack_to_much_are_refused(tmp_path):
    with io.BytesIO() as file:
        np.savez_compressed(file, mean=np.zeros(10**7), std=np.zeros(10**7))
        (tmp_path / "bomb").write_bytes(file.getvalue())
    with pytest.raises(checkpoints.CheckpointError, match="larger than 1 MB"):
        statistics_of(tmp_path / "bomb")


def test_a_picture_that_claims_to_be_huge_is_refused(tmp_path):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    side = 16_000
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(side * 3 + 1) * 100, 9)
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
    for read in (lambda: own_copy(path, tmp_path / "copy.mp4"), lambda: players.excerpt(path)):
        with pytest.raises(media.MediaError):
            read()


# Texts

EVIL = '<img src=x onerror="hacked=1"><script>hacked=1</script>"\''


class Tags(HTMLParser):
    """Collects elements that run scripts."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        if tag == "script" or any(name.startswith("on") and "hacked" in (value or "") for name, value in attributes):
            self.found.append((tag, attributes))


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The HTML of everything that shows names of files, classes, runs and mistakes."""
    folder = tmp_path_factory.mktemp("evil")
    names = [f"{EVIL.replace('/', '_')} {i}.mp4" for i in range(2)]
    records = []
    for i in range(8):
        write_ramp(folder / f"{i % 2}" / f"{i} {names[i % 2]}", 1.5)
        records.append(Record(f"{EVIL}{i}", f"{i % 2}/{i} {names[i % 2]}", f"{EVIL}{i % 2}", 1.5, "train"))
    manifest = Manifest(folder, records)
    clips = ClipDataset(manifest, video=VIDEO, audio=AUDIO, cache=False, workers=0, progress=False)
    rows = torch.nn.functional.normalize(torch.randn(2, 8, 16, generator=torch.Generator().manual_seed(0)), dim=2)
    pair, labels, paths = tuple(rows), clips.labels.numpy(), [clips.path(i) for i in range(8)]
    panels = [
        CalibrationExplorer({EVIL: tuple(rows.numpy()), f"{EVIL}B": tuple(rows.numpy())}, labels),
        EmbeddingMap(tuple(rows.numpy()), labels, clips.classes, paths=paths),
        NCEMicroscope(pair, labels, clips.classes),
        PositiveBrowser(pair, clips),
        RetrievalExplorer(pair, clips),
    ]
    found = {}
    for panel in panels:
        if isinstance(panel, EmbeddingMap):
            panel.canvas.selected = list(range(8))
        panel.notify(EVIL, error=True, details=EVIL)
        panel.fail(ValueError(EVIL))
        parts = [part.value for part in _descendants(panel.widget) if isinstance(part, HTML)]
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # such names leave a chart no room
            found[type(panel).__name__] = "\n".join([*parts, panel.snapshot().html])
        panel.close()
    found["player"] = str(players.player(paths[0], caption=EVIL)._repr_html_())
    found["box"] = Box("plain", "<b>fine</b>")._repr_html_()
    return found


def test_every_text_is_escaped(pages):
    for name, page in pages.items():
        tags = Tags()
        tags.feed(page)
        assert tags.found == [], f"{name} runs a script"
        assert "hacked" in page or name == "box", f"{name} shows no hostile name"


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_a_browser_runs_nothing_of_it(pages, browser):
    page = browser.new_page()
    for name, html in pages.items():
        page.set_content(f"<!doctype html><body>{html}</body>")
        page.wait_for_timeout(200)
        assert page.evaluate("window.hacked") is None, f"{name} ran a script"
    page.set_content('<img src="x:" onerror="window.hacked=1">')
    page.wait_for_function("window.hacked === 1")  # it would have been seen
    page.close()


def test_scripts_of_the_page_write_no_html():
    for path in (ROOT / "avid_lab").rglob("*.js"):
        text = path.read_text(encoding="utf-8")
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
            assert word not in text, f"{path.name} uses {word}"


# The network

OFFLINE = """
import sys, tempfile
from pathlib import Path
def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.bind"):
        if not isinstance(arguments[-1], (str, bytes)) or event == "socket.getaddrinfo":
            raise AssertionError(f"the network is used: {event} {arguments}")
sys.addaudithook(refuse)
from tests.kills import Place
with tempfile.TemporaryDirectory() as folder:
    place = Place(Path(folder), "")
    for number, work in enumerate(place.works()):
        if work.name != "fetching":
            (root := Path(folder) / str(number)).mkdir()
            work.run(root)
            print(work.name)
    from avid_lab import cli
    assert cli.main(["doctor", "--json"]) in (0, 1)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="uses the works of the kill loop")
def test_only_fetch_uses_the_network(tmp_path):
    done = subprocess.run([sys.executable, "-c", OFFLINE], cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "mining" in done.stdout


@pytest.mark.slow
def test_jupyterlab_wants_its_token_and_listens_to_this_machine_only(lab):
    port = int(lab.address.rpartition(":")[2])
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/api/contents", timeout=30)
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/api/contents?token=wrong", timeout=30)
    urllib.request.urlopen(f"http://127.0.0.1:{port}/api/contents?token={TOKEN}", timeout=30).close()
    if Path("/proc/net/tcp").exists():
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        bound = {row[1].split(":")[0] for row in rows if int(row[1].split(":")[1], 16) == port and row[3] == "0A"}
        assert bound <= {"0100007F"}
