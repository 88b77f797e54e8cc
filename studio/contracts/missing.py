"""A value whose stored bytes are gone."""

from dataclasses import dataclass


@dataclass(frozen=True)
class MissingPayload:
    """What stands, wherever a payload is read, in place of a value that was stored apart and is not there any more."""

    digest: str
    """SHA-256 of what was stored, in hex."""

    @property
    def message(self) -> str:
        return f"The stored payload {self.digest} is gone; what it held cannot be read any more."
