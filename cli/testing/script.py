"""The replies of a case: which one a call gets, and which were never asked for.

A key is a step's path, in which `*` stands for any text. When several match a call, the one that says most counts. A
reply alone answers every call, a list one call after the other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import cast

import orjson
from pydantic import ValidationError

from cli.testing.cases import Reply
from cli.testing.places import PathKey, Places
from studio.contracts.base import Json, JsonObject
from studio.contracts.runs import RunError, RunUsage
from studio.engine.memory_calls import ModelCall, ModelReply
from studio.errors import FieldError
from studio.web.field_errors import field_errors

_SHOWN = 200


class NoReply(Exception):
    """A call for which the case has no reply."""


@dataclass
class _Answers:
    """What one key says."""

    key: PathKey
    replies: list[Reply]
    endless: bool
    calls: int = 0

    @property
    def count(self) -> int:
        return sum(reply.times for reply in self.replies)

    def next(self) -> Reply | None:
        self.calls += 1
        if self.endless:
            return self.replies[0]
        rest = self.calls
        for reply in self.replies:
            rest -= reply.times
            if rest <= 0:
                return reply
        return None


class Script:
    """The model of one case."""

    def __init__(self, answers: Sequence[_Answers]) -> None:
        self._answers = sorted(answers, key=lambda found: -found.key.weight)
        self._paths: list[str] = []

    def reply(self, call: ModelCall) -> ModelReply:
        """Raises `NoReply`."""
        self._paths.append(call.path)
        found = next((answers for answers in self._answers if answers.key.matches(call.path)), None)
        if found is None:
            raise NoReply(f"{call.path} asked the model and has no reply. It asked: {_asked(call)}")
        reply = found.next()
        if reply is None:
            message = (
                f"{call.path} asked the model (attempt {call.attempt}) once more than {found.key.text!r} has replies"
            )
            raise NoReply(f"{message}, {found.count}. It asked: {_asked(call)}")
        return _model_reply(reply)

    def leftovers(self) -> list[str]:
        """What is left of the replies once the run is over."""
        found: list[str] = []
        for answers in sorted(self._answers, key=lambda found: found.key.text):
            if not answers.calls:
                paths = ", ".join(dict.fromkeys(self._paths)) or "none"
                found.append(f"{answers.key.text!r} answered no call. Calls came from: {paths}")
            elif not answers.endless and answers.calls < answers.count:
                found.append(f"{answers.key.text!r} has {answers.count} replies and {answers.calls} were asked for")
        return found


def _asked(call: ModelCall) -> str:
    text = str(call.messages[-1].get("content")) if call.messages else ""
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _model_reply(reply: Reply) -> ModelReply:
    counts = reply.usage
    total = counts.prompt_tokens + counts.completion_tokens if counts.total_tokens is None else counts.total_tokens
    usage = RunUsage(
        prompt_tokens=counts.prompt_tokens,
        completion_tokens=counts.completion_tokens,
        total_tokens=total,
        llm_calls=1,
    )
    error = reply.error and RunError(type=reply.error.type, message=reply.error.message)
    text = reply.text if reply.text is not None else orjson.dumps(reply.output).decode()
    return ModelReply(text, error, reply.after or timedelta(), usage, reply.cost_usd, reply.finish_reason)


def read_script(replies: Mapping[str, Json], places: Places) -> Script | list[FieldError]:
    """The script, or what is wrong with it; `loc` is relative to the case."""
    answers: list[_Answers] = []
    errors: list[FieldError] = []
    for key, value in replies.items():
        unknown = places.unknown(key, "agent", "replies", "asks a model")
        if unknown is not None:
            errors.append(unknown)
        items = cast("list[Json]", value) if isinstance(value, list) else None
        read: list[Reply] = []
        for index, item in enumerate([value] if items is None else items):
            loc: list[str | int] = ["replies", key] if items is None else ["replies", key, index]
            try:
                read.append(_read(item))
            except ValidationError as error:
                errors += field_errors(error, prefix=loc)
        if items is not None and not items:
            errors.append(FieldError(loc=["replies", key], msg="a list of replies holds one at least", type="empty"))
        endless = items is None and not any("times" in reply.model_fields_set for reply in read)
        answers.append(_Answers(PathKey(key), read, endless))
    return errors or Script(answers)


def _read(value: Json) -> Reply:
    """A text is the model's text, any other value its structured answer, unless it has a field of a reply."""
    if isinstance(value, str):
        return Reply(text=value)
    if isinstance(value, dict) and cast("JsonObject", value).keys() & Reply.model_fields.keys():
        return Reply.model_validate(value)
    return Reply(output=value)
