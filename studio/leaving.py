"""How a process ends."""

import os
import sys
from typing import NoReturn


def leave(code: int) -> NoReturn:
    """End this process with `code`.

    Where Temporal's SDK was used it ends without taking the interpreter down: a thread of the SDK may crash that
    (temporalio/sdk-python, issue 300).
    """
    if "temporalio.bridge.runtime" not in sys.modules:
        sys.exit(code)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
