"""The programmes of an MPEG transport stream: which of its streams belong together (ISO/IEC 13818-1, 2.4.4)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

SYNC = 0x47
SIZES = (188, 192, 204)  # plain, with a time code before each packet (m2ts), with error correction after it
READ_BYTES = 5_000_000  # as far as FFmpeg looks for streams by default


def programmes(path: Path) -> dict[int, frozenset[int]]:
    """The stream ids (PIDs) of each programme, by its number; empty where the file has no tables."""
    with path.open("rb") as file:
        data = file.read(READ_BYTES)
    maps: set[int] = set()  # the PIDs of the programmes' own tables
    numbers: set[int] = set()
    found: dict[int, frozenset[int]] = {}
    for pid, table in _sections(data, maps):
        kind, length = table[0], len(table)
        if pid == 0 and kind == 0:  # programme association table
            for at in range(8, length - 7, 4):
                number = int.from_bytes(table[at : at + 2], "big")
                if number:
                    numbers.add(number)
                    maps.add(int.from_bytes(table[at + 2 : at + 4], "big") & 0x1FFF)
        elif kind == 2 and length >= 16:  # programme map table
            at, pids = 12 + (int.from_bytes(table[10:12], "big") & 0xFFF), set()
            while at + 5 <= length - 4:
                pids.add(int.from_bytes(table[at + 1 : at + 3], "big") & 0x1FFF)
                at += 5 + (int.from_bytes(table[at + 3 : at + 5], "big") & 0xFFF)
            found.setdefault(int.from_bytes(table[3:5], "big"), frozenset(pids))
        if numbers and numbers <= found.keys():
            break
    return found


def _sections(data: bytes, maps: set[int]) -> Iterator[tuple[int, bytes]]:
    """Whole tables of PID 0 and of the PIDs in ``maps``, as they come."""
    parts: dict[int, bytearray] = {}
    for packet in _packets(data):
        pid = int.from_bytes(packet[1:3], "big") & 0x1FFF
        if pid and pid not in maps:
            continue
        adaptation = (packet[3] >> 4) & 3
        payload = packet[5 + packet[4] :] if adaptation == 3 else packet[4:] if adaptation == 1 else b""
        if packet[1] & 0x40 and payload:  # a table begins after the pointer
            parts[pid] = bytearray(payload[1 + payload[0] :])
        elif pid in parts:
            parts[pid] += payload
        part = parts.get(pid, b"")
        if len(part) >= 3:
            length = 3 + (int.from_bytes(part[1:3], "big") & 0xFFF)
            if len(part) >= length:
                yield pid, bytes(parts.pop(pid)[:length])


def _packets(data: bytes) -> Iterator[bytes]:
    for size in SIZES:
        for begin in range(size):
            if all(data[at : at + 1] == bytes([SYNC]) for at in range(begin, begin + 5 * size, size)):
                for at in range(begin, len(data) - 187, size):
                    if data[at] == SYNC:
                        yield data[at : at + 188]
                return
