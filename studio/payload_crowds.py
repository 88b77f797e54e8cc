"""How large a payload may be to stay in a message to Temporal: less when many go in one.

Temporal takes 4 MiB a message, and ends the workflow whose task answers with more. The codec sees all payloads of a
message before the first is stored apart; both happen in one asyncio task, which is what is counted by.
"""

from contextvars import ContextVar

EXTERNAL_BYTES = 64 * 1024
"""A larger payload is stored apart, so that histories stay small."""
CROWDED_BYTES = 4 * 1024
"""The same in a crowd: a run begins at most 500 calls at once, which are then 2 MiB."""
CROWD_BYTES = 1536 * 1024
"""From here on what one task has sent is a crowd; references and headers need room as well."""


class _Sent:
    total = 0


_sent: ContextVar[_Sent | None] = ContextVar("studio_payloads_sent", default=None)


def count_payload(size: int) -> None:
    """The current asyncio task is about to send a payload of so many bytes."""
    if size >= EXTERNAL_BYTES:
        return
    sent = _sent.get()
    if sent is None:
        sent = _Sent()
        _sent.set(sent)
    sent.total += size


def is_stored_apart(size: int) -> bool:
    sent = _sent.get()
    crowded = sent is not None and sent.total > CROWD_BYTES
    return size >= (CROWDED_BYTES if crowded else EXTERNAL_BYTES)
