"""What goes wrong in an expression: reading it, evaluating it, or doing so within its limits."""


class SyntaxFault(Exception):
    """An expression that is not CEL. `at` is the character, from 1, or None; `hint` says what to write."""

    def __init__(self, message: str, at: int | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message if at is None else f"character {at}: {message}"
        self.hint = hint


class EvaluationFault(Exception):
    """An operation that failed. `&&` and `||` pass over it where the other side decides, as CEL says."""

    def __init__(self, message: str, *, mistyped: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.mistyped = mistyped
        """Whether an operation or a function got values of types that it does not take."""


class LimitFault(Exception):
    """An expression wants more than it may have. Nothing passes over it."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


def failure(message: str) -> EvaluationFault:
    return EvaluationFault(message)


def mistyped(message: str) -> EvaluationFault:
    return EvaluationFault(message, mistyped=True)
