"""Child processes that never outlive the process that started them."""

import asyncio
import os
import pwd
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path


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
    linux = sys.platform == "linux"
    with log.open("ab") as output:
        return subprocess.Popen(  # noqa: S603 - the command lines are ours
            [*(_launched(death_signal, user) if linux else ()), *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(env),
            start_new_session=True,
            user=None if linux else user,
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


def _launched(death_signal: signal.Signals, user: str | None) -> list[str]:
    """What goes before a command, so that it gets `death_signal` when this process dies; see `cli.stack.launch`."""
    launcher = Path(__file__).with_name("launch.py")
    uid = str(pwd.getpwnam(user).pw_uid) if user else "-"
    return [sys.executable, "-I", "-S", str(launcher), str(os.getpid()), str(int(death_signal)), uid]
