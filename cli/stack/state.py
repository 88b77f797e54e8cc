"""The data folder of a stack: who runs on it, what it started and where everything is."""

import errno
import fcntl
import os
import stat
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil
from pydantic import BaseModel, ValidationError

_PRIVATE_FOLDER = 0o700
_OWN_ENTRIES = ("logs", "mongo", "redis", "secret-keys", "stack.", "studio.db", "temporal", "traces")
"""How the names of all that the stack makes in its folder begin."""
_LOCK_ATTEMPTS = 10
_LOCK_PAUSE_SECONDS = 0.05  # a reader holds the lock for an instant while it looks


class PartState(BaseModel):
    name: str
    address: str
    ready: bool = False
    detail: str | None = None
    degraded: bool = False
    """It is ready, but `detail` says what it does without."""
    pid: int | None = None
    external: bool = False
    created: float | None = None
    """When the process began, in seconds since the epoch: tells it from a later one with the same id."""


class StackState(BaseModel):
    data: str
    pid: int
    created: float
    phase: Literal["starting", "ready", "stopping"] = "starting"
    parts: list[PartState] = []
    stop_seconds: float = 60
    """How long all parts together may take to stop, one after the other."""

    @property
    def ready(self) -> bool:
        return self.phase == "ready" and all(part.ready for part in self.parts)

    def address(self, part: str) -> str | None:
        return next((one.address for one in self.parts if one.name == part), None)


class AlreadyRunning(Exception):
    """Another process holds the data folder."""


@dataclass(frozen=True)
class DataFolder:
    root: Path

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    @property
    def state_file(self) -> Path:
        return self.root / "stack.json"

    @property
    def lock_file(self) -> Path:
        return self.root / "stack.lock"

    @property
    def keys_file(self) -> Path:
        return self.root / "secret-keys"

    @property
    def key_id_file(self) -> Path:
        return self.root / "secret-keys.id"

    @property
    def temporal_file(self) -> Path:
        return self.root / "temporal" / "temporal.db"

    @property
    def database_file(self) -> Path:
        return self.root / "studio.db"

    def make(self) -> str | None:
        """Make the folder, or keep others out of it; what this process and its children make in it is private too.

        Returns a warning when it is left open: it holds other files than the stack's, or belongs to somebody else.
        """
        os.umask(0o077)
        if self.root.exists() and not self.root.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "Not a folder", str(self.root))
        self.root.mkdir(mode=_PRIVATE_FOLDER, parents=True, exist_ok=True)
        found = self.root.stat()
        if not found.st_mode & 0o077:
            return None
        foreign = sorted(entry.name for entry in self.root.iterdir() if not entry.name.startswith(_OWN_ENTRIES))
        if found.st_uid != os.getuid() or foreign:
            why = f"it also holds {foreign[0]!r}" if foreign else "it belongs to another user"
            return (
                f"Others may enter {self.root} (mode {stat.S_IMODE(found.st_mode):04o}), which is left so because "
                f"{why}. A folder of its own is made private."
            )
        self.root.chmod(_PRIVATE_FOLDER)
        return None

    def write(self, state: StackState) -> None:
        """Replace the state file in one step, so that a reader never sees half of it."""
        new = self.state_file.with_suffix(".new")
        new.write_text(state.model_dump_json(indent=1), encoding="utf-8")
        new.replace(self.state_file)

    def last_state(self) -> StackState | None:
        """What was written last, whether its stack still runs or not."""
        try:
            return StackState.model_validate_json(self.state_file.read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def is_held(self) -> bool:
        try:
            with self.lock_file.open("rb") as file:
                return not _try_lock(file.fileno(), fcntl.LOCK_SH)
        except FileNotFoundError:
            return False

    @contextmanager
    def hold(self) -> Generator[None]:
        """Be the only stack on this folder; the kernel lets go of it when the process ends in any way."""
        with self.lock_file.open("ab") as file:
            for _ in range(_LOCK_ATTEMPTS):
                if _try_lock(file.fileno(), fcntl.LOCK_EX):
                    break
                time.sleep(_LOCK_PAUSE_SECONDS)
            else:
                state = self.last_state()
                owner = f" (process {state.pid})" if state else ""
                raise AlreadyRunning(
                    f"A stack already runs on {self.root}{owner}. See it with `studio status`, stop it with "
                    "`studio down`, or start another one with `--data DIR --port-base N`."
                )
            yield


def load(data_dir: Path) -> StackState | None:
    """The stack that runs on this data folder now, or None."""
    folder = DataFolder(data_dir.resolve())
    return folder.last_state() if folder.is_held() else None


def created(pid: int) -> float | None:
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return None


def process_of(pid: int, created_at: float) -> psutil.Process | None:
    """The process if it still runs; one that merely reuses the id is not taken for it."""
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - created_at) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return None
    return process if same else None


def leftovers(state: StackState) -> list[tuple[PartState, psutil.Process]]:
    """The parts of a stack that still run."""
    found: list[tuple[PartState, psutil.Process]] = []
    for part in state.parts:
        process = process_of(part.pid, part.created) if part.pid and part.created else None
        if process:
            found.append((part, process))
    return found


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
