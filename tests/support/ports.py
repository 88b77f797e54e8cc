"""Ports for servers that tests start.

From below the range in which the system gives ports to outgoing connections, and from a part of it that belongs to this
test process alone: between choosing a port and listening on it nobody else takes it.
"""

import itertools
import os

from cli.stack.ports import is_free

_FIRST, _LAST, _PROCESSES = 10_000, 32_000, 8
_SHARE = (_LAST - _FIRST) // _PROCESSES
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % _PROCESSES  # noqa: TID251 - pytest-xdist says so
_start = _FIRST + _worker * _SHARE
# Two runs at once, or one soon after another, begin at different places.
_offsets = itertools.count(os.getpid() * 10 % _SHARE)


def _next() -> int:
    return _start + next(_offsets) % _SHARE


def free_port() -> int:
    while not is_free("127.0.0.1", port := _next()):
        pass
    return port


def free_ports(count: int) -> int:
    """The first of `count` free ports in a row."""
    while True:
        first = _next()
        row = range(first, first + count)
        if row[-1] < _start + _SHARE and all(is_free("127.0.0.1", port) for port in row):
            for _ in row:
                next(_offsets)
            return first
