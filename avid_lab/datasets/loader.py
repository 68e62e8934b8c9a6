"""Batches read from files by worker processes, ahead of those who use them.

A worker is a Python process of its own (not forked, so the main process may hold a GPU, threads or an open notebook).
It gets clips and places through one pipe and answers with the bytes of their windows through another, which are read
into the batch where they belong. A worker that dies is replaced and its clips are read again; a clip at which workers
die twice is unusable. Workers end after `IDLE_S` seconds without work, with the last `ClipDataset` that reads with as
many, and with the main process.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from avid_lab.datasets.parallel import usable_cores
from avid_lab.media import MediaError

if TYPE_CHECKING:
    from avid_lab.datasets.clips import ClipDataset, Wanted

AHEAD = 2  # batches in the making while one is used
CLIPS = 4  # that a worker is given at a time
IDLE_S = 30.0
PATIENCE_S = 300.0  # after which a worker counts as hung
PIPE_BYTES = 2**20
ORDERS = {"video": (0, 2, 3, 4, 1)}  # of dimensions in memory: channels last


def load(
    clips: ClipDataset, requests: Iterable[tuple[Tensor, Tensor | int]], wanted: Wanted = None, *, pin: bool = False
) -> Iterator[dict[str, Tensor]]:
    """A batch for each request, in order: as `ClipDataset.batch` or `ClipDataset.windows` return it.

    Workers read files ahead; clips that are decoded already are taken from the cache when their turn comes. The number
    of workers changes nothing in the batches.

    Args:
        clips: The clips.
        requests: Clips (B,), and either the draws (B, 2) in [0, 1) that place a random window in each, or the number of
            evenly spaced windows of each.
        wanted: Only this stream, "video" or "audio", of windows that are placed for all streams.
        pin: Whether batches from files are in page-locked memory, from which a GPU copies in the background.

    Raises:
        MediaError: A file is unusable, and none may take its place.
        RuntimeError: A worker process cannot start.
    """
    if clips.decoded or not clips.workers:
        for index, where in requests:
            yield clips.at(index, where, wanted)
        return
    requests, waiting = iter(requests), deque[Batch]()
    try:
        while True:
            while len(waiting) <= AHEAD and (request := next(requests, None)) is not None:
                waiting.append(Batch(clips, *request, wanted, pin=pin))
                clips.pool.submit(waiting[-1])
            if not waiting:
                return
            batch = waiting.popleft()
            found = batch.wait()
            for notice in batch.notices:
                warnings.warn(notice, stacklevel=2)
            yield found
    finally:
        for batch in waiting:
            batch.over.set()


def default_workers() -> int:
    """One process per core, shared among the processes of a training on this machine."""
    return max(1, usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


class Batch:
    """A batch in the making: windows are put where they belong, in any order, by one thread or several."""

    def __init__(
        self, clips: ClipDataset, index: Tensor, where: Tensor | int, wanted: Wanted = None, *, pin: bool = False
    ) -> None:
        self.clips, self.pin = clips, pin
        self.wanted: Wanted = wanted
        self.index: list[int] = index.tolist()
        if isinstance(where, Tensor):  # known failures are not tried again
            self.index = [i if (other := clips.stand_in(i)) is None else other for i in self.index]
        self.where, self.windows = where, where if isinstance(where, int) else 1
        self.over = threading.Event()  # complete, failed or no longer wanted
        self.notices: list[str] = []
        self._found: dict[str, Tensor] = {}
        self._error: BaseException | None = None
        self._memory: dict[str, Tensor] = {}
        self._missing = set(range(len(self.index)))
        self._lock = threading.Lock()
        if not self.index:
            self._finish()

    def place(self, row: int) -> Tensor | int:
        """Where the windows of a row are."""
        return self.where if isinstance(self.where, int) else self.where[row]

    def memory(self, row: int, name: str, dtype: torch.dtype, shape: Sequence[int]) -> Tensor:
        """The memory of a row's windows (windows, ...), dense, with dimensions in the order of `ORDERS`."""
        with self._lock:
            if name not in self._memory:
                size = (len(self.index) * self.windows, *shape[1:])
                self._memory[name] = torch.empty(size, dtype=dtype, pin_memory=self.pin)
            whole = self._memory[name]
        if whole.shape[1:] != torch.Size(shape[1:]):
            raise ValueError("these clips differ in size: give VideoSpec a size, or take them one by one")
        return whole[row * self.windows : (row + 1) * self.windows]

    def read(self, row: int) -> None:
        """Read the windows of a row in this process."""
        while True:
            try:
                windows = self.clips.read(self.index[row], self.place(row), self.wanted)
                break
            except MediaError as error:
                self.replace(row, error)
        for name, dense in in_memory(windows).items():
            self.memory(row, name, dense.dtype, dense.shape).copy_(dense)
        self.complete(row)

    def replace(self, row: int, error: MediaError) -> None:
        """Let the next usable clip take the place of one that is not, or raise the error if none may."""
        if isinstance(self.where, int):  # windows of certain clips: no other will do
            raise error
        known = len(self.clips.failures)
        self.index[row] = self.clips.instead(self.index[row], error)
        if len(self.clips.failures) > known:  # said once
            name = self.clips.manifest.records[self.index[row]].path
            self.notices.append(f"{error} {name} takes its place.")

    def complete(self, row: int) -> None:
        """Note that the windows of a row are there."""
        with self._lock:
            self._missing.discard(row)
            last = not self._missing
        if last:
            self._finish()

    def fail(self, error: BaseException) -> None:
        """Raise an error where the batch is waited for."""
        self._error = error
        self.over.set()

    def wait(self) -> dict[str, Tensor]:
        """The batch, when it is complete."""
        while not self.over.wait(timeout=1.0):  # a limit, so that Ctrl-C is heard on every system
            pass
        if self._error is not None:
            raise self._error
        return self._found

    def _finish(self) -> None:
        found = {name: _in_order(name, dense) for name, dense in self._memory.items()}
        index = torch.tensor(self.index, dtype=torch.int64).repeat_interleave(self.windows)
        self._found = {**found, "index": index, "label": self.clips.labels[index]}
        self.over.set()


def in_memory(windows: dict[str, Tensor]) -> dict[str, Tensor]:
    """Windows as dense tensors, with dimensions in the order in which they are in memory."""
    return {name: x.permute(ORDERS[name]).contiguous() if name in ORDERS else x for name, x in windows.items()}


def _in_order(name: str, dense: Tensor) -> Tensor:
    return dense.permute(torch.tensor(ORDERS[name]).argsort().tolist()) if name in ORDERS else dense


# The main process's side

Tasks = queue.SimpleQueue["tuple[Batch, list[int]] | None"]  # rows of a batch to read; None ends a thread


class Worker:
    """A process that reads windows."""

    def __init__(self) -> None:
        environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
        code = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); "  # the main process stops it
        with _starting:
            if _over:
                raise RuntimeError("the program is ending: no worker starts")
            self.process = subprocess.Popen(
                [sys.executable, "-c", f"{code}from avid_lab.datasets import loader; loader.serve()"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=os.environ | environment,
                process_group=0,  # Ctrl-C in a terminal does not reach it, not even before that line runs
            )
            _living.add(self.process)
        assert self.process.stdin and self.process.stdout
        self._to, self._from = self.process.stdin, self.process.stdout
        _widen(self._from.fileno())
        try:
            pickle.load(self._from)  # it is ready
        except EOFError as error:
            raise RuntimeError(f"a worker process cannot start: {self.end()}. Try workers=0.") from error

    def read(self, batch: Batch, rows: Sequence[int]) -> Iterator[tuple[int, dict[str, Any] | Exception]]:
        """Read rows of a batch: each row with the spans found, or with the error."""
        tasks = [pickle.dumps((batch.clips.subset([batch.index[row]]), batch.place(row), batch.wanted)) for row in rows]
        alarm = threading.Timer(PATIENCE_S, self.process.kill)
        alarm.daemon = True
        alarm.start()
        try:
            pickle.dump(tasks, self._to)
            self._to.flush()
            for row in rows:
                answer = pickle.load(self._from)
                if not isinstance(answer, Exception):
                    for name, (dtype, shape) in answer["windows"].items():
                        self._fill(batch.memory(row, name, dtype, shape))
                yield row, answer
        finally:
            alarm.cancel()

    def _fill(self, memory: Tensor) -> None:
        rest = memoryview(memory.numpy()).cast("B")  # pyright: ignore[reportArgumentType]
        while rest:
            count = self._from.readinto(rest)  # pyright: ignore[reportAttributeAccessIssue]
            if not count:
                raise EOFError("the worker process died")
            rest = rest[count:]

    def end(self) -> str:
        """Stop the process, and say how it ended."""
        for pipe in (self._to, self._from):
            with contextlib.suppress(OSError):  # it may not have taken all of a task
                pipe.close()
        try:
            code = self.process.wait(timeout=1.0)  # without tasks it ends by itself
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        _living.discard(self.process)
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"


class Pool:
    """Threads that each keep one worker busy; they start with the first batch and end with the pool."""

    def __init__(self, workers: int) -> None:
        self._workers, self._process = workers, 0
        self._tasks: Tasks = queue.SimpleQueue()
        self.end: Callable[[], Any] = lambda: None

    def __reduce__(self) -> tuple[Any, ...]:
        return pool, (self._workers,)

    def submit(self, batch: Batch) -> None:
        """Have a batch read."""
        if self._process != os.getpid():  # not started, or in the process that this one was forked from
            self._process, self._tasks = os.getpid(), queue.SimpleQueue()
            self.end = weakref.finalize(self, _dismiss, self._tasks, self._workers)
            for number in range(self._workers):
                reader = Reader(self._tasks, number)
                _readers.add(reader)
                reader.start()
        rows = list(range(len(batch.index)))
        for begin in range(0, len(rows), CLIPS):
            self._tasks.put((batch, rows[begin : begin + CLIPS]))


def pool(workers: int) -> Pool:
    """The pool of this many workers, which all who want as many share."""
    with _starting:
        found = _pools.get(workers)
        if found is None:
            found = _pools[workers] = Pool(workers)
        return found


def _dismiss(tasks: Tasks, threads: int) -> None:
    for _ in range(threads):
        tasks.put(None)


class Reader(threading.Thread):
    """Has batches read by one worker, until there are no more."""

    def __init__(self, tasks: Tasks, number: int) -> None:
        super().__init__(name=f"reading {number}", daemon=True)
        self._tasks = tasks
        self._worker: Worker | None = None

    def run(self) -> None:
        """Work until dismissed."""
        while True:
            try:
                task = self._tasks.get(timeout=None if self._worker is None else IDLE_S)
            except queue.Empty:
                self._end_worker()
                continue
            if task is None:
                break
            try:
                self._read(*task)
            except BaseException as error:  # whatever it is, whoever waits for the batch must hear of it
                task[0].fail(error)
                self._end_worker()
            del task  # a thread without work keeps no clips
        self._end_worker()
        _readers.discard(self)

    def _end_worker(self) -> str:
        worker, self._worker = self._worker, None
        return "" if worker is None else worker.end()

    def _read(self, batch: Batch, rows: list[int]) -> None:
        left, suspect = deque(rows), None
        while left and not batch.over.is_set():
            for row in left:
                batch.clips.path(batch.index[row])  # fetched here if it is elsewhere: a worker would seem to hang
            self._worker = self._worker or Worker()
            refused: list[tuple[int, Exception]] = []
            try:
                for row, answer in self._worker.read(batch, list(left)):
                    left.popleft()
                    if isinstance(answer, Exception):
                        refused.append((row, answer))
                    else:
                        batch.clips.note_spans(batch.index[row], answer["spans"])
                        batch.complete(row)
            except (OSError, EOFError, pickle.UnpicklingError):
                how = self._end_worker()
                path = batch.clips.path(batch.index[left[0]])
                problem = f"the process that reads it died ({how})"
                if suspect == left[0]:
                    fix = "It crashes the decoder, needs more memory than there is, or takes minutes. Leave it out."
                    refused.append((left.popleft(), MediaError(path, f"{problem}, twice", fix)))
                else:
                    suspect = left[0]
                    batch.notices.append(f"{path}: {problem}; another reads it again.")
            for row, error in refused:
                if not isinstance(error, MediaError):
                    raise error
                batch.replace(row, error)
                left.append(row)


_pools: weakref.WeakValueDictionary[int, Pool] = weakref.WeakValueDictionary()
_living: set[subprocess.Popen[bytes]] = set()
_readers: set[Reader] = set()
_starting = threading.Lock()
_process = os.getpid()
_over: list[bool] = []  # not empty once the program ends


@atexit.register
def _end_all() -> None:
    if os.getpid() != _process:  # forked: these workers are not its own
        return
    with _starting:
        _over.append(True)
        for process in list(_living):
            process.kill()
    for running in list(_pools.values()):
        running.end()
    for reader in list(_readers):
        reader.join(timeout=5.0)  # it closes its worker's pipes


def _widen(pipe: int) -> None:
    """Make a pipe hold more, where the system lets us: fewer turns for a clip."""
    with contextlib.suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


# The worker's side


def serve() -> None:
    """Answer tasks from standard input on standard output, until there are no more."""
    torch.set_num_threads(1)
    tasks, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not come in between
    try:
        pickle.dump("ready", answers)
        answers.flush()
    except BrokenPipeError:  # the main process is gone
        os._exit(0)
    while True:
        try:
            asked = pickle.load(tasks)
        except EOFError:
            return
        for task in asked:
            try:
                clips, where, wanted = pickle.loads(task)
                windows = in_memory(clips.read(0, where, wanted))
                head = {name: (x.dtype, tuple(x.shape)) for name, x in windows.items()}
                answer = pickle.dumps({"windows": head, "spans": clips.spans(0)})
            except Exception as error:
                windows, answer = {}, _portable(error)
            try:
                answers.write(answer)
                for x in windows.values():
                    answers.write(memoryview(x.numpy()).cast("B"))  # pyright: ignore[reportArgumentType]
                answers.flush()
            except BrokenPipeError:  # the main process is gone
                os._exit(0)


def _portable(error: Exception) -> bytes:
    try:
        pickle.loads(portable := pickle.dumps(error))
        return portable
    except Exception:  # not every exception can be pickled
        return pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
