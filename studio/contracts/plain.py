"""Text that stays readable in the Temporal UI."""


class PlainText(str):
    """A summary made of names alone: the payload codec leaves it as it is, so that the Temporal UI can show it."""

    __slots__ = ()
