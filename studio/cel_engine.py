"""The engine that evaluates CEL (package `common-expression-language`), without the command line that comes with it."""

import sys
from types import ModuleType

# The package imports its command line, and with it a terminal toolkit: a tenth of a worker's start.
sys.modules.setdefault("cel.cli", ModuleType("cel.cli"))

import cel  # noqa: E402 - see above

__all__ = ["cel"]
