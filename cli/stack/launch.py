"""Becomes a command that ends when the process that started it ends. Linux only.

`python -I -S launch.py PARENT SIGNAL UID COMMAND...`, where UID may be `-`. A script of its own rather than code in a
forked child, which could wait for ever for a lock that another thread of the parent held. It imports little, since
every part waits for it.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent: int, death_signal: int, user: str, command: list[str]) -> None:
    libc = ctypes.CDLL(None)
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # by this interpreter; the command would inherit that
        signal.signal(ignored, signal.SIG_DFL)
    if user != "-":
        os.setuid(int(user))  # before prctl, whose effect ends when the user changes
    libc.prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent:  # it died before we asked to hear of that
        os._exit(1)
    os.execvp(command[0], command)  # noqa: S606 - the command lines are ours


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:])
