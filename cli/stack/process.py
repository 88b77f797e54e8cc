"""Child processes that never outlive the process that started them."""

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1


def spawn(
    command: Sequence[str],
    *,
    log: Path,
    env: Mapping[str, str],
    death_signal: signal.Signals = signal.SIGTERM,
    user: str | None = None,
) -> "subprocess.Popen[bytes]":
    """Start `command` with both outputs appended to `log`.

    The child has a session of its own, so that Ctrl-C on the terminal reaches only the one who then stops the parts in
    order. When the thread that called this dies, however it dies, Linux sends the child `death_signal`: call it from
    the main thread.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(  # noqa: S603 - the command lines are ours
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(env),
            start_new_session=True,
            user=user,
            preexec_fn=_die_with_parent(death_signal) if sys.platform == "linux" else None,  # noqa: PLW1509 - main thread
        )


def stop(child: "subprocess.Popen[bytes]", grace_seconds: float) -> int:
    """SIGTERM, then SIGKILL when `grace_seconds` have passed; what the child left of its session is killed too.

    Returns the exit code, negative for a signal.
    """
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            child.kill()
    code = child.wait()
    kill_session(child.pid)
    return code


def kill_session(leader: int) -> None:
    """Kill what is left of a session that `spawn` began."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def watch_end(child: "subprocess.Popen[bytes]") -> asyncio.Future[int]:
    """The exit code, once the process has ended. The loop must outlive the process."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[int] = loop.create_future()

    def wait() -> None:
        code = child.wait()
        loop.call_soon_threadsafe(lambda: ended.done() or ended.set_result(code))

    threading.Thread(target=wait, daemon=True, name=f"wait-{child.pid}").start()
    return ended


def _die_with_parent(death_signal: signal.Signals) -> Callable[[], None]:
    parent = os.getpid()
    prctl = ctypes.CDLL(None, use_errno=True).prctl  # resolved here: the child may only make async-signal-safe calls

    def in_child() -> None:
        prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return in_child
