"""Text that compression cannot make small, so that payloads have the size that a test means."""

import base64
from random import Random


def noise(size: int, seed: int = 1) -> str:
    """As many characters; compressed three quarters of that. The same seed gives the same text."""
    return base64.b64encode(Random(seed).randbytes(size * 3 // 4)).decode()
