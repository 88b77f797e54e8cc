"""The port table of the embedded stack."""

import errno
import socket
from collections.abc import Mapping

LOOPBACK = "127.0.0.1"
DEFAULT_PORTS: Mapping[str, int] = {
    "api": 8000,
    "prompts": 8001,
    "llm": 8002,
    "temporal": 7233,
    "temporal-ui": 8233,
    "redis": 6379,
    "mongo": 27017,
    "model": 8010,
    "embeddings": 8011,
}
PART_NAMES = (*DEFAULT_PORTS, "worker")


def port_table(base: int | None) -> dict[str, int]:
    """The default ports, or `base`, `base + 1`, … in the same order, so that several stacks live side by side."""
    if base is None:
        return dict(DEFAULT_PORTS)
    return {name: base + offset for offset, name in enumerate(DEFAULT_PORTS)}


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now; a port that only lingers after a close counts as free."""
    with socket.socket(_family(host)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            if error.errno in {errno.EADDRINUSE, errno.EACCES}:
                return False
            raise
    return True


def first_free_base(host: str = LOOPBACK) -> int | None:
    """None when the default ports are free, else the first base from 18000 on whose ports all are."""
    bases: list[int | None] = [None, *range(18_000, 28_000, 10)]
    return next(base for base in bases if all(is_free(host, port) for port in port_table(base).values()))


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
