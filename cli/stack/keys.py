"""The key with which the embedded stack encrypts payloads and secrets."""

import base64
import os
import secrets

from cli.stack.state import DataFolder

_KEY_BYTES = 32


def secret_keys(folder: DataFolder) -> str:
    """Comma-separated base64 keys, newest first; the first call on a data folder makes one (file mode 0600)."""
    try:
        return folder.keys_file.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        pass
    key = base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode("ascii")
    new = folder.keys_file.with_suffix(".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(key + "\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(folder.keys_file)
    return key
