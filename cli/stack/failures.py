"""Why a stack does not come up."""


class StartFailed(Exception):
    """The stack did not come up. `exit_code` is that of the command."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code
