"""The `usage` of a stream's event: taken out, or shown with its cost, while every other byte stays as it came."""

import json

import orjson

from studio.contracts.base import JsonObject
from studio.foreign_json import member_span


def without_usage(data: bytes) -> bytes | None:
    """The JSON object without its member `usage`; None when it cannot be told where that is."""
    text = data.decode("utf-8", "surrogateescape")
    place = member_span(text, "usage")
    if place is None:
        return None
    start, _, end = place
    before, after = text[:start].rstrip(), text[end:].lstrip()
    if before.endswith(","):
        before = before[:-1]
    else:
        after = after.removeprefix(",")
    return (before + after).encode("utf-8", "surrogateescape")


def with_cost(data: bytes, usage: JsonObject, cost: str | None) -> bytes | None:
    """The JSON object whose member `usage` also says `cost_usd`; None when it cannot be told where that is."""
    text = data.decode("utf-8", "surrogateescape")
    place = member_span(text, "usage")
    if place is None:
        return None
    _, start, end = place
    if "cost_usd" in usage:
        shown = orjson.dumps({**usage, "cost_usd": cost}).decode()
    else:
        members = text[start + 1 : end - 1].rstrip()
        shown = f'{{{members}{"," if members.strip() else ""}"cost_usd":{json.dumps(cost)}}}'
    return (text[:start] + shown + text[end:]).encode("utf-8", "surrogateescape")
