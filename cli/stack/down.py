"""`studio down`."""

from collections.abc import Callable

import psutil

from cli.stack.process import kill_session
from cli.stack.state import DataFolder, StackState, leftovers, process_of

LEFTOVER_SECONDS = 10.0
KILLED_SECONDS = 10.0
PATIENT_SECONDS = 10.0
"""After this we say what takes so long."""


def down(folder: DataFolder, say: Callable[[str], None]) -> bool:
    """Stop the stack on this folder and what a killed one left. Returns whether anything ran."""
    state = folder.last_state()
    if state is None:
        return False
    held = folder.is_held()
    if held:
        _stop_supervisor(state, say)
    return stop_leftovers(state, say) or held


def stop_leftovers(state: StackState, say: Callable[[str], None]) -> bool:
    """Stop what a stack that was killed has left: its parts die with it, but may take a moment."""
    found = leftovers(state)
    for part, process in found:
        say(f"{part.name} is left from a stack that was killed (process {process.pid}); stopping it.")
        process.terminate()
    _, alive = psutil.wait_procs([process for _, process in found], timeout=LEFTOVER_SECONDS)
    for process in alive:
        kill_session(process.pid)
    psutil.wait_procs(alive, timeout=LEFTOVER_SECONDS)
    return bool(found)


def _stop_supervisor(state: StackState, say: Callable[[str], None]) -> None:
    process = process_of(state.pid, state.created)
    if process is None:
        return
    try:
        process.terminate()
        try:
            process.wait(PATIENT_SECONDS)
        except psutil.TimeoutExpired:
            say("Calls under way may still end; a second `studio down` ends everything at once.")
            process.wait(state.stop_seconds)
    except psutil.NoSuchProcess:
        return
    except psutil.TimeoutExpired:
        say(f"The stack (process {state.pid}) did not stop within {state.stop_seconds:g} s; killing it.")
        process.kill()
        process.wait(KILLED_SECONDS)
