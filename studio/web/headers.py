"""Text in HTTP headers."""


def header_text(raw: bytes) -> str:
    """A header's value: UTF-8, as our own clients and most others send it, or else Latin-1."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")
