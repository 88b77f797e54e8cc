"""The parts' log files."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

ROTATE_BYTES = 16 * 1024 * 1024
_BLOCK_BYTES = 64 * 1024
_FOLLOW_PAUSE_SECONDS = 0.2


def tail(path: Path, lines: int = 15) -> str:
    """The last lines, read from the end; "" when there is no such file."""
    try:
        with path.open("rb") as file:
            position, found = file.seek(0, os.SEEK_END), b""
            while position and found.count(b"\n") <= lines:
                start = max(0, position - _BLOCK_BYTES)
                file.seek(start)
                found, position = file.read(position - start) + found, start
    except FileNotFoundError:
        return ""
    return b"\n".join(found.splitlines()[-lines:]).decode(errors="replace")


def follow(path: Path, *, poll_seconds: float = _FOLLOW_PAUSE_SECONDS) -> Iterator[str]:
    """What is appended from now on, for ever; goes on with the new file after a rotation."""
    position = path.stat().st_size if path.exists() else 0
    while True:
        if path.exists():
            size = path.stat().st_size
            if size < position:
                position = 0
            if size > position:
                with path.open("rb") as file:
                    file.seek(position)
                    block = file.read(_BLOCK_BYTES)
                position += len(block)
                yield block.decode(errors="replace")
                continue
        time.sleep(poll_seconds)


def rotate(path: Path) -> None:
    """Before a start: keep a log that has grown large as `NAME.log.1`, in place of an older one."""
    if path.exists() and path.stat().st_size > ROTATE_BYTES:
        path.replace(path.with_name(path.name + ".1"))
