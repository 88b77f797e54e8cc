"""The one place where text that is not ours is freed of our secrets before it leaves a process.

A process registers its secrets (`protect`) when it reads its settings. Whatever an upstream or a library said passes
`mask` on its way out: log lines (as the last step of `studio.telemetry`), spans (`studio.tracing`), answers, error
messages and events of the LLM engine.
"""

import base64
import json
import re
from collections.abc import Iterable
from typing import Any, TypeVar, cast
from urllib.parse import quote

from pydantic import BaseModel, SecretStr

MASK = "********"
SHORTEST_SECRET = 8
"""Shorter values would be found inside of ordinary words."""
FAULT_CHARACTERS = 300
_PLACEHOLDERS = frozenset({"anything", "no-api-key", "no-key-required", "not-needed", "not-required", "placeholder"})
"""What people write as the key of a server that asks for none: no secrets, and words of ordinary answers."""
_SCHEMES = frozenset({"api-key", "apikey", "basic", "bearer", "key", "token"})
_HARMLESS = re.compile(r"https?://[^@\s]*|[a-z]+/[a-z0-9.+*-]+", re.IGNORECASE)
"""Addresses and media types, as headers of an upstream's settings hold them."""
TextT = TypeVar("TextT", str, bytes)


class _Protected:
    """The secrets of this process, in each spelling in which a body, a URL or a log line holds them."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.bytes: list[bytes] = []

    def add(self, secret: str) -> None:
        found = set(self.texts)
        for part in _secret_parts(secret):
            found |= _spellings(part)
        self.texts = sorted(found, key=len, reverse=True)  # the longest first: one may hold another
        self.bytes = [text.encode() for text in self.texts]


_protected = _Protected()


def _secret_parts(secret: str) -> list[str]:
    """The secret, or what is secret in a header's value such as `Bearer sk-123`; none when it is an ordinary word."""
    words = secret.split()
    if len(words) > 1:
        schemed = words[0].lower() in _SCHEMES
        words = words[1:] if schemed else [word for word in words if any(map(str.isdigit, word))]
    return [
        word
        for word in words
        if len(word) >= SHORTEST_SECRET and word.lower() not in _PLACEHOLDERS and not _HARMLESS.fullmatch(word)
    ]


def _spellings(secret: str) -> set[str]:
    in_json = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    slashes = {text.replace("/", "\\/") for text in in_json}
    in_urls = {quote(secret, safe=""), quote(secret)}
    return {secret, *in_json, *slashes, *in_urls, base64.b64encode(secret.encode()).decode().rstrip("=")}


def protect(secrets: Iterable[str]) -> None:
    """Have these values masked in all that leaves this process from now on."""
    for secret in secrets:
        _protected.add(secret)


def protect_settings(settings: BaseModel) -> None:
    """`protect` every `SecretStr` in the settings, however deep."""
    protect(_secrets_in(settings))


def _secrets_in(value: Any) -> Iterable[str]:
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, BaseModel):
        for _, inner in value:
            yield from _secrets_in(inner)
    elif isinstance(value, dict):
        for inner in cast("dict[Any, Any]", value).values():
            yield from _secrets_in(inner)
    elif isinstance(value, list | tuple | set | frozenset):
        for inner in cast("Iterable[Any]", value):
            yield from _secrets_in(inner)


def mask(text: TextT) -> TextT:
    """The text with `MASK` wherever it holds one of the process's secrets; what else it holds stays as it is."""
    if isinstance(text, bytes):
        for secret in _protected.bytes:
            if secret in text:
                text = text.replace(secret, MASK.encode())
        return text
    for secret in _protected.texts:
        if secret in text:
            text = text.replace(secret, MASK)
    return text


def describe_fault(error: BaseException | None) -> str:
    """Type and message of a library's exception, for a log line: its `repr` may hold a request with its headers."""
    if error is None:
        return ""
    message = mask(str(error)).strip()
    return f"{type(error).__name__}: {message}"[:FAULT_CHARACTERS] if message else type(error).__name__
