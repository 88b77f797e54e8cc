"""The keys with which the embedded stack encrypts payloads and secrets, and which of them its data needs.

`DATA/secret-keys` holds the key that was generated; `DATA/secret-keys.id` the id of the one that encrypted last, so
that a lost key is not replaced and another one is noticed.
"""

import base64
import os
import secrets
import sqlite3
from contextlib import closing
from pathlib import Path

from cli.stack.failures import StartFailed
from cli.stack.state import DataFolder
from studio.secret_keys import KEY_BYTES, key_id, read_key, split_keys

_PRIVATE = 0o600


def secret_keys(folder: DataFolder, given: str | None) -> str:
    """Comma-separated base64 keys, newest first: those of the settings, else those of the folder's file.

    A folder without any data gets a new one. Raises `StartFailed` when the data was encrypted with another key.
    """
    keys = given or _stored(folder)
    fault = key_fault(folder, keys)
    if fault is not None:
        raise StartFailed(fault)
    if keys is None:
        keys = base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode("ascii")
        _write(folder, folder.keys_file.name, keys)
    newest = _ids(keys)[0]
    if _needed(folder) != newest:
        _write(folder, folder.key_id_file.name, newest)
    return keys


def check_keys(folder: DataFolder, given: str | None) -> str | None:
    """What is wrong with the keys of this folder, or None; changes nothing."""
    try:
        return key_fault(folder, given or _stored(folder))
    except StartFailed as error:
        return str(error)


def key_fault(folder: DataFolder, keys: str | None) -> str | None:
    needed = _needed(folder)
    if keys is None:
        data = _encrypted_data(folder)
        if data is None:
            return None
        which = f" with the key {needed}" if needed else ""
        return (
            f"The key is lost: {folder.keys_file} is not there, and {data} holds runs that were encrypted{which}. "
            "Put the file back from a backup, or set STUDIO_SECRET_KEYS to that key. If no copy is left, the runs "
            "cannot be read again: start on another data folder."
        )
    if needed and needed not in _ids(keys) and _encrypted_data(folder):
        return (
            f"The data in {folder.root} was encrypted with the key {needed}, and the keys given are "
            f"{', '.join(_ids(keys))}. Put that key behind the new one (STUDIO_SECRET_KEYS=NEW,OLD), or put "
            f"{folder.keys_file.name} back from a backup. If no run needs the old key any more, remove "
            f"{folder.key_id_file}."
        )
    return None


def _ids(keys: str) -> list[str]:
    """Newest first."""
    return [key_id(read_key(key)).hex() for key in split_keys(keys)]


def _stored(folder: DataFolder) -> str | None:
    """Raises `StartFailed` when the file holds something else than keys."""
    try:
        found = folder.keys_file.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise StartFailed(f"{folder.keys_file} cannot be read ({type(error).__name__}). {_RESTORE}") from None
    try:
        ids = _ids(found)
    except ValueError as error:
        raise StartFailed(f"{folder.keys_file} {error}. {_RESTORE}") from None
    if ids:
        folder.keys_file.chmod(_PRIVATE)
    return found if ids else None


_RESTORE = "Put it back from a backup, or set STUDIO_SECRET_KEYS."


def _needed(folder: DataFolder) -> str | None:
    """Id of the key that encrypted last; None when that was never written."""
    try:
        return folder.key_id_file.read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        return None


def _encrypted_data(folder: DataFolder) -> str | None:
    """The file that holds runs, if there is one."""
    for path, holds_runs in ((folder.temporal_file, _is_filled), (folder.database_file, _has_runs)):
        if holds_runs(path):
            return str(path)
    return None


def _is_filled(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _has_runs(path: Path) -> bool:
    """`studio migrate` makes a database that has none and needs no key. One that cannot be read may have some."""
    if not _is_filled(path):
        return False
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            tables = database.execute("SELECT 1 FROM sqlite_master WHERE name = 'runs'").fetchone()
            return tables is not None and database.execute("SELECT 1 FROM runs LIMIT 1").fetchone() is not None
    except sqlite3.Error:
        return True


def _write(folder: DataFolder, name: str, text: str) -> None:
    """In one step, for the owner alone."""
    path = folder.root / name
    new = path.with_name(f"{name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE), "w", encoding="ascii") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
