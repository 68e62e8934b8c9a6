"""Fetching from real servers on this machine: resumed, checked, unpacked, and never half there."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.request import ProxyHandler, build_opener

import pytest
import torch
from test_official import clips, released_forward, released_state, write

import avid_lab as al
from avid_lab import cli, fetching
from avid_lab.fetching import Entry, Remote, transfer
from avid_lab.fetching.transfer import download, look
from avid_lab.fetching.unpack import unpack

DATA = bytes(range(256)) * 8000  # 2 MB
SHA256 = hashlib.sha256(DATA).hexdigest()


@dataclass
class Service:
    """A web server; the first part of an address says how it behaves."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=lambda: {"a.bin": DATA})
    version: str = '"one"'
    cuts: int = 0  # answers still to be cut in the middle
    asked: list[tuple[str, str]] = field(default_factory=list)  # addresses and byte ranges

    def url(self, how: str, name: str = "a.bin") -> str:
        return f"{self.address}/{how}/{name}"

    def transfers(self) -> list[str]:
        """The byte ranges asked for, without the first question of each call."""
        return [ranged for _, ranged in self.asked if ranged != "bytes=0-0"]


class Handler(BaseHTTPRequestHandler):
    service: Service

    def do_GET(self):
        how, _, name = self.path.strip("/").partition("/")
        ranged = self.headers.get("Range", "")
        self.service.asked.append((self.path, ranged))
        if how == "moved":
            self.send_response(302)
            self.send_header("Location", f"/ranges/{name}")
            self.end_headers()
        elif how == "page":
            self.answer(200, b"<html>log in</html>", {"Content-Type": "text/html; charset=utf-8"})
        elif name not in self.service.files:
            self.send_error(404)
        elif how == "unsized":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.service.files[name])
        else:
            self.file(self.service.files[name], ranged if how == "ranges" else "")

    def file(self, data: bytes, ranged: str):
        headers = {"ETag": self.service.version, "Content-Type": "application/octet-stream"}
        current = self.headers.get("If-Range", self.service.version) == self.service.version
        if ranged and current:
            first, last = ranged.removeprefix("bytes=").split("-")
            begin, end = int(first), int(last or len(data) - 1)
            part = data[begin : end + 1]
            self.answer(206, part, {**headers, "Content-Range": f"bytes {begin}-{end}/{len(data)}"})
        else:
            self.answer(200, data, headers)

    def answer(self, code: int, body: bytes, headers: dict[str, str]):
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.service.cuts and self.headers.get("Range") != "bytes=0-0":
            self.service.cuts -= 1
            body = body[: 2 * len(body) // 3]
        self.wfile.write(body)

    def log_message(self, format, *arguments):
        pass


class Proxy(BaseHTTPRequestHandler):
    """Forwards what is asked of any host to one server."""

    service: Service
    asked: list[str]

    def do_GET(self):
        self.asked.append(self.path)
        path = "/" + self.path.split("/", 3)[3]
        opener = build_opener(ProxyHandler({}))
        with opener.open(self.service.address + path) as answer:
            self.send_response(200)
            self.send_header("Content-Length", answer.headers["Content-Length"])
            self.end_headers()
            self.wfile.write(answer.read())

    log_message = Handler.log_message


@contextmanager
def running(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def service(monkeypatch) -> Iterator[Service]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "AVID_LAB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    made = Service()
    with running(type("Served", (Handler,), {"service": made})) as address:
        made.address = address
        yield made


@pytest.fixture
def impatient(monkeypatch):
    """One new try after a cut, not four."""
    monkeypatch.setattr(transfer, "RETRIES", 1)


def here(folder: Path) -> list[str]:
    """All files, without locks."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")


@pytest.mark.parametrize("how", ["ranges", "whole", "moved", "unsized"])
def test_a_file_arrives_whole_from_servers_of_every_kind(service, tmp_path, how):
    target = tmp_path / "deep" / "a.bin"
    assert download(service.url(how), target, sha256=SHA256, progress=False) == SHA256
    assert target.read_bytes() == DATA and here(tmp_path) == ["a.bin"]


def test_a_server_says_what_it_has_before_it_sends_it(service):
    assert look(service.url("ranges")) == transfer.Offer(service.url("ranges"), len(DATA), '"one"', True)
    assert look(service.url("whole")) == transfer.Offer(service.url("whole"), len(DATA), '"one"', False)


def test_a_cut_connection_continues_where_it_stopped(service, tmp_path):
    service.cuts = 2
    download(service.url("ranges"), tmp_path / "a.bin", sha256=SHA256, progress=False)
    whole, *rest = service.transfers()
    begins = [int(ranged.removeprefix("bytes=").rstrip("-")) for ranged in rest]
    assert whole == "" and len(DATA) // 3 < begins[0] < begins[1] < len(DATA)


def test_what_arrived_is_kept_for_the_next_call(service, tmp_path, impatient):
    service.cuts = 2
    with pytest.raises(OSError, match=r"ended early .* MB are kept: the same command continues from there"):
        download(service.url("ranges"), tmp_path / "a.bin", progress=False)
    assert not (tmp_path / "a.bin").exists()
    before = len(service.asked)
    download(service.url("ranges"), tmp_path / "a.bin", sha256=SHA256, progress=False)
    ranged = service.asked[-1][1]
    assert len(service.asked) == before + 3 and int(ranged.removeprefix("bytes=").rstrip("-")) > len(DATA) // 2
    assert here(tmp_path) == ["a.bin"]


def test_a_part_that_is_whole_is_not_asked_for_again(service, tmp_path, impatient):
    service.cuts = 2
    with pytest.raises(OSError, match="are kept"):
        download(service.url("ranges"), tmp_path / "a.bin", progress=False)
    (part,) = tmp_path.glob(".a.bin.fetch*.part")
    part.write_bytes(DATA)
    before = len(service.transfers())
    download(service.url("ranges"), tmp_path / "a.bin", sha256=SHA256, progress=False)
    assert len(service.transfers()) == before and here(tmp_path) == ["a.bin"]


def test_a_part_of_another_version_is_not_continued(service, tmp_path, impatient):
    service.cuts = 2
    with pytest.raises(OSError, match="are kept"):
        download(service.url("ranges"), tmp_path / "a.bin", progress=False)
    changed = DATA[::-1]
    service.files["a.bin"], service.version = changed, '"two"'
    download(service.url("ranges"), tmp_path / "a.bin", progress=False)
    assert (tmp_path / "a.bin").read_bytes() == changed


def test_a_server_without_byte_ranges_starts_again(service, tmp_path):
    service.cuts = 2
    download(service.url("whole"), tmp_path / "a.bin", sha256=SHA256, progress=False)
    assert service.transfers() == ["", "", ""] and here(tmp_path) == ["a.bin"]


def test_a_file_with_a_wrong_checksum_is_removed(service, tmp_path):
    (tmp_path / "a.bin").write_bytes(b"the old one")
    with pytest.raises(OSError, match=rf"has the SHA-256 {SHA256}, but must have {'0' * 64}\. It was removed"):
        download(service.url("ranges"), tmp_path / "a.bin", sha256="0" * 64, progress=False)
    assert (tmp_path / "a.bin").read_bytes() == b"the old one" and here(tmp_path) == ["a.bin"]


def test_what_is_not_there_or_not_the_file_is_named(service, tmp_path):
    with pytest.raises(OSError, match="gone.bin: the server answers 404 Not Found. It may have moved"):
        download(service.url("ranges", "gone.bin"), tmp_path / "a.bin", progress=False)
    with pytest.raises(OSError, match="the answer is a web page"):
        download(service.url("page"), tmp_path / "a.bin", progress=False)
    with pytest.raises(OSError, match=r"127.0.0.1:9/a.bin: cannot be reached \(.*refused\)\. Check the address"):
        download("http://127.0.0.1:9/a.bin", tmp_path / "a.bin", progress=False)
    assert here(tmp_path) == []


def test_offline_nothing_is_asked(service, tmp_path, monkeypatch):
    monkeypatch.setenv("AVID_LAB_OFFLINE", "1")
    with pytest.raises(OSError, match="is not fetched, because AVID_LAB_OFFLINE is set"):
        download(service.url("ranges"), tmp_path / "a.bin", progress=False)
    with pytest.raises(OSError, match="AVID_LAB_OFFLINE is set"):  # neither are sets in shards
        al.Manifest.read(service.url("ranges", "manifest.csv"))
    assert service.asked == []


def test_a_proxy_is_used_and_no_proxy_is_not(service, tmp_path, monkeypatch):
    asked: list[str] = []
    with running(type("Forwarding", (Proxy,), {"service": service, "asked": asked})) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy)
        download("http://media.example/whole/a.bin", tmp_path / "a.bin", sha256=SHA256, progress=False)
        assert set(asked) == {"http://media.example/whole/a.bin"}
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        download(service.url("ranges"), tmp_path / "b.bin", sha256=SHA256, progress=False)
    assert set(asked) == {"http://media.example/whole/a.bin"}
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with pytest.raises(OSError, match="the proxy refuses .* Check HTTP_PROXY, HTTPS_PROXY and NO_PROXY"):
        download("http://media.example/whole/a.bin", tmp_path / "c.bin", progress=False)


def test_one_process_at_a_time_fetches_a_file(service, tmp_path):
    with transfer.FileLock(tmp_path / ".a.bin.lock"), pytest.raises(OSError, match="another process is fetching it"):
        download(service.url("ranges"), tmp_path / "a.bin", progress=False)


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A disk of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.name != "posix" or os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_too_small_is_refused_before_the_first_byte(service, small_disk):
    with pytest.raises(OSError, match=r"disk: needs 2 MB, but 1 MB are free\. Make room, or choose another folder"):
        download(service.url("ranges"), small_disk / "a.bin", progress=False)
    assert sum(path.stat().st_size for path in small_disk.iterdir()) < 1000


def test_a_disk_that_fills_keeps_what_arrived(service, small_disk):
    with pytest.raises(OSError, match=r"disk: the disk is full\. Make room, .* are kept"):
        download(service.url("unsized"), small_disk / "a.bin", progress=False)
    assert not (small_disk / "a.bin").exists()


# ---- archives


def zipped(**members: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name.replace("__", "/"), content)
    return made.getvalue()


def tarred(*members: tarfile.TarInfo, content: bytes = b"") -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as file:
        for member in members:
            member.size = len(content) if member.isreg() else 0
            file.addfile(member, io.BytesIO(content))
    return made.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, link
    return made


def test_archives_get_a_folder_of_their_own(tmp_path):
    (tmp_path / "set.zip").write_bytes(zipped(videos__a=b"1", lists__b=b"2"))
    (tmp_path / "part_0.tar.gz").write_bytes(tarred(member("x/c.mp4"), content=b"3"))
    assert here(unpack(tmp_path / "set.zip", progress=False)) == ["a", "b"]
    assert (unpack(tmp_path / "part_0.tar.gz", progress=False) / "x" / "c.mp4").read_bytes() == b"3"


BAD_ARCHIVES = {
    "out.zip": (zipped(**{"..__evil": b"x"}), r"its member '\.\./evil' leads out of the folder"),
    "root.zip": (zipped(**{"__evil": b"x"}), "its member '/evil' leads out"),
    "out.tar.gz": (tarred(member("../evil"), content=b"x"), r"its member '\.\./evil' leads out"),
    "link.tar.gz": (tarred(member("a", tarfile.SYMTYPE, "../../evil")), "would link to .* outside"),
    "device.tar.gz": (tarred(member("a", tarfile.CHRTYPE)), "is a special file"),
    "torn.zip": (zipped(a=os.urandom(5000))[:3000], "is damaged or not an archive"),
    "torn.tar.gz": (tarred(member("a"), content=os.urandom(9000))[:3000], "is damaged or not an archive"),
    "text.tar": (b"no archive", "is damaged or not an archive"),
}


@pytest.mark.parametrize("name", BAD_ARCHIVES)
def test_a_bad_archive_leaves_nothing(tmp_path, name):
    content, message = BAD_ARCHIVES[name]
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    (folder / name).write_bytes(content)
    with pytest.raises(OSError, match=message):
        unpack(folder / name, progress=False)
    assert here(tmp_path) == [name] and [path.name for path in folder.iterdir()] == [name]


def test_an_archive_larger_than_the_disk_is_refused(small_disk):
    (small_disk / "bomb.zip").write_bytes(zipped(a=b"\0" * 10**8))
    with pytest.raises(OSError, match="needs 150 MB, but .* are free"):
        unpack(small_disk / "bomb.zip", progress=False)
    assert here(small_disk) == ["bomb.zip"]


# ---- entries and the command


def test_the_catalogue_is_complete_and_consistent():
    kinds = {entry.kind for entry in fetching.CATALOGUE.values()}
    assert kinds == {"weights", "set", "lists"} and len(fetching.CATALOGUE) >= 13
    for name, entry in fetching.CATALOGUE.items():
        assert name == entry.name and entry.purpose and entry.licence and entry.size > 0
        assert entry.page.startswith("https://") and (entry.files or entry.by_hand) and entry.then
        assert all(remote.url.startswith(("https://", "http://")) for remote in entry.files)
        assert len({remote.place for remote in entry.files}) == len(entry.files)


def entry_of(service: Service, *files: Remote, **settings) -> Entry:
    return Entry("tiny", "set", "a test", 1000, "CC0", "https://page.example", files, then="look {folder}", **settings)


def test_an_entry_is_fetched_once_unpacked_and_recorded(service, tmp_path):
    service.files |= {"set.zip": zipped(videos__a=b"1"), "list.csv": b"a,b\n"}
    entry = entry_of(
        service,
        Remote(service.url("ranges", "set.zip"), unpack=True),
        Remote(service.url("ranges", "list.csv"), sha256=hashlib.sha256(b"a,b\n").hexdigest()),
    )
    said: list[str] = []
    fetching.fetch(entry, tmp_path, progress=False, say=said.append)
    assert here(tmp_path) == ["a", "list.csv", "list.csv.source.json", "set.zip.source.json"]
    record = json.loads((tmp_path / "set.zip.source.json").read_text())
    assert record["url"] == service.url("ranges", "set.zip") and record["licence"] == "CC0"
    assert record["sha256"] == hashlib.sha256(service.files["set.zip"]).hexdigest()
    assert record["checksum"] == "none was known" and record["fetched"].endswith("+00:00")
    asked = len(service.asked)
    fetching.fetch(entry, tmp_path, progress=False, say=said.append)
    assert len(service.asked) == asked and said[-1] == "list.csv: here already"


def test_the_archives_of_a_list_are_fetched_one_after_another(service, tmp_path):
    service.files |= {f"{i}.tar.gz": tarred(member(f"{i}.mp4"), content=b"x") for i in range(3)}
    service.files["list.txt"] = "\n".join(service.url("ranges", f"{i}.tar.gz") for i in range(3)).encode()
    service.files["own.csv"] = b"a\n"
    entry = entry_of(service, Remote(service.url("ranges", "own.csv")), lists=(service.url("ranges", "list.txt"),))
    fetching.fetch(entry, tmp_path, progress=False, say=str)
    assert [path.name for path in sorted(tmp_path.rglob("*.mp4"))] == ["0.mp4", "1.mp4", "2.mp4"]
    assert not list(tmp_path.rglob("*.tar.gz"))
    service.files["list.txt"] = b"http://elsewhere.example/0.tar.gz"
    with pytest.raises(OSError, match="names 'http://elsewhere.example/0.tar.gz', on another server"):
        fetching.fetch(entry, tmp_path, progress=False, say=str)


@pytest.fixture
def released(service, tmp_path, monkeypatch) -> dict[str, torch.Tensor]:
    """A small file in the released format, on a server in the place of the authors'; its tensors."""
    state = released_state()
    monkeypatch.setenv("AVID_LAB_DATA", str(tmp_path / "data"))
    entry = fetching.CATALOGUE["avid-cma-audioset"]
    path = write(tmp_path / "checkpoint.pth.tar", state)
    service.files["checkpoint.pth.tar"] = path.read_bytes()
    files = (replace(entry.files[0], url=service.url("moved", "checkpoint.pth.tar")),)
    monkeypatch.setitem(fetching.CATALOGUE, entry.name, replace(entry, files=files))
    return state


def test_weights_are_fetched_by_the_command_and_embed_like_the_released_network(released, service, capsys):
    with pytest.raises(FileNotFoundError, match="Run `avid-lab fetch avid-cma-audioset`"):
        al.AudioVisualModel.released("avid-cma-audioset")
    assert service.asked == []  # nothing is fetched unasked
    service.cuts = 1
    assert cli.main(["fetch", "avid-cma-audioset"]) == 0
    shown = capsys.readouterr().out
    assert shown.index("CC BY-NC 4.0") < shown.index("checkpoint.pth.tar:")
    assert "Next: avid-lab evaluate --weights avid-cma-audioset" in shown
    model = al.AudioVisualModel.released("avid-cma-audioset")
    with torch.no_grad():
        made = model(*clips())
    torch.testing.assert_close(made, released_forward(released, *clips()), atol=1e-5, rtol=1e-5)
    assert cli.main(["fetch"]) == 0
    assert "AVID+CMA on AudioSet [here]" in capsys.readouterr().out


def test_the_command_says_what_is_wrong(service, tmp_path, capsys, monkeypatch):
    assert cli.main(["fetch", "esc-50"]) == 2
    assert "there is no 'esc-50' to fetch. Did you mean esc50?" in capsys.readouterr().err
    assert cli.main(["fetch", "hmdb51"]) == 1
    assert "unrar x" in capsys.readouterr().out
    entry = entry_of(service, Remote(service.url("ranges", "gone.bin")), by_hand="Ask the page.")
    monkeypatch.setitem(fetching.CATALOGUE, "tiny", entry)
    assert cli.main(["fetch", "tiny", "--to", str(tmp_path)]) == 2
    assert "the server answers 404" in (shown := capsys.readouterr().err) and shown.endswith("Ask the page.\n")
    with pytest.raises(ValueError, match="released weights, avid-cma-audioset, .*; got 'paper'"):
        al.AudioVisualModel.released("paper")
