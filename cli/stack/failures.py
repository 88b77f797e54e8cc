"""Why a stack does not come up."""


class StartFailed(Exception):
    """The stack did not come up. `exit_code` is that of the command."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def describe(error: OSError) -> str:
    """One line: which file, what the system says."""
    reason = error.strerror or type(error).__name__
    return f"{error.filename}: {reason}." if error.filename else f"{reason}."
