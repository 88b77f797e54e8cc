"""What a prompt may not be called, and what its messages may not hold twice."""

from studio.contracts.ids import IdPrefix, is_id
from studio.contracts.prompts import PlaceholderMessage, Templates
from studio.errors import FieldError, InvalidInput
from studio.templates import variables_of

Place = tuple[str | int, ...]


def check_name(name: str, place: Place) -> None:
    """Raises `InvalidInput` for a name that a path would take for an id."""
    if is_id(name, IdPrefix.PROMPT):
        message = "a name must not have the form of an id, or a path could mean either"
        raise _refused(message, (*place, "name"), "name_like_id")


def check_placeholders(content: Templates, place: Place) -> None:
    """One variable is one thing: the messages of one placeholder, or what texts read. Raises `InvalidInput`."""
    texts = content.texts() if content.engine == "jinja2" else []
    read = {name: loc for loc, text in texts for name in variables_of(text)}
    seen: dict[str, int] = {}
    for index, message in enumerate(content.messages or []):
        if not isinstance(message, PlaceholderMessage):
            continue
        name, loc = message.placeholder, (*place, "messages", index, "placeholder")
        if name in seen:
            raise _refused(f"the placeholder {name!r} is there already, in messages.{seen[name]}", loc, "duplicate")
        if name in read:
            where = ".".join(map(str, read[name]))
            raise _refused(
                f"{name!r} is a list of messages here, and a variable of the text in {where}", loc, "duplicate"
            )
        seen[name] = index


def _refused(message: str, loc: Place, kind: str) -> InvalidInput:
    place = ".".join(map(str, loc))
    return InvalidInput(f"{place}: {message}", errors=[FieldError(loc=list(loc), msg=message, type=kind)])
