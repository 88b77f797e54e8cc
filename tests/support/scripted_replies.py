"""Replies and prompts for the in-memory driver, kept in maps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from studio.contracts.agents import PromptRef
from studio.contracts.base import JsonObject
from studio.contracts.prompts import Rendered
from studio.engine.memory_calls import ModelCall, ModelReply


@dataclass
class ScriptedReplies:
    """By path: in order, and the last one from then on. `calls` is what was asked."""

    by_path: Mapping[str, Sequence[ModelReply]]
    calls: list[ModelCall] = field(default_factory=list[ModelCall])

    def reply(self, call: ModelCall) -> ModelReply:
        earlier = sum(1 for before in self.calls if before.path == call.path)
        self.calls.append(call)
        replies = self.by_path[call.path]
        return replies[min(earlier, len(replies) - 1)]

    def paths(self) -> list[str]:
        return [call.path for call in self.calls]


class NoPrompts:
    def render(self, prompt: PromptRef, variables: JsonObject) -> Rendered | None:
        return None
