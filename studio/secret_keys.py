"""The keys of `STUDIO_SECRET_KEYS`: how one is read, and its id, which may be shown."""

import base64
import hashlib

KEY_BYTES = 32
KEY_ID_BYTES = 4


def read_key(text: str) -> bytes:
    """Raises `ValueError`, which does not hold the text."""
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:  # also `binascii.Error`, and what is not ASCII
        raw = b""
    if len(raw) != KEY_BYTES:
        raise ValueError("holds a key that is not base64 of 32 bytes (openssl rand -base64 32)")
    return raw


def key_id(key: bytes) -> bytes:
    """What stands in front of every payload that the key encrypted."""
    return hashlib.sha256(b"studio key id" + key).digest()[:KEY_ID_BYTES]


def split_keys(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
