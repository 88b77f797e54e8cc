"""When an earlier answer may be given again: the same on every driver."""

from studio.contracts.activities import AnswerCaching
from studio.contracts.base import JsonObject
from studio.contracts.definitions import ResolvedAgent
from studio.engine.answers import parse_answer
from studio.engine.limits import unfit
from studio.engine.state import RunAgent
from studio.json_schema import check_value


def caching_of(agent: ResolvedAgent, command: RunAgent) -> AnswerCaching | None:
    """None when the step has no `cache`."""
    if command.cache is None:
        return None
    whole = {"agent": agent.spec.model_dump(mode="json", exclude_defaults=True), "input": command.input}
    key: JsonObject = {"named": agent.name, "key": command.cache.key[0]} if command.cache.key else whole
    key["output_schema"] = command.output_schema
    return AnswerCaching(key=key, ttl=command.cache.ttl, output_schema=command.output_schema)


def is_worth_keeping(text: str, finish_reason: str | None, caching: AnswerCaching) -> bool:
    """Not an answer that was cut, or one that the step would fail with."""
    if finish_reason == "length":
        return False
    if caching.output_schema is None:
        return True
    answer = parse_answer(text)
    return unfit(answer) is None and not check_value(answer, caching.output_schema)
