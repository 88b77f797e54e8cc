"""Agents: what they are, by themselves or written inline in a step."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from studio.contracts.base import Contract, ErrorName, JsonObject, Name
from studio.contracts.durations import Duration
from studio.contracts.secret_names import find_secret_name

CallErrorType = Literal[
    "timeout",
    "upstream_error",
    "rate_limited",
    "prompt_error",
    "invalid_request",
    "dependency_unavailable",
    "internal_error",
]
"""What a call may fail with."""

Ref = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
"""A name or an id."""
Label = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,62}$")]
ModelRef = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class RetryPolicy(Contract):
    """When an attempt of a step's call fails: wait `initial_interval`, then `backoff` times longer each time."""

    max_attempts: Annotated[int, Field(ge=1, le=1000)] = 10
    initial_interval: Duration = timedelta(seconds=1)
    backoff: Annotated[float, Field(ge=1, le=100)] = 2.0
    max_interval: Duration = timedelta(seconds=30)
    non_retryable: list[ErrorName] = []
    """Of a call the types that it may fail with; of a block also those of `fail` steps inside it."""


class PromptRef(Contract):
    """A prompt of the prompt engine: a label's version (default `production`) or one version."""

    name: Ref
    label: Label | None = None
    version: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _one_selector(self) -> "PromptRef":
        if self.label is not None and self.version is not None:
            raise ValueError("give a label or a version, not both")
        return self


class AgentSpec(Contract):
    """What an agent does, without its name: also written inline in a step."""

    framework: Literal["native"] = "native"
    model: ModelRef = "default"
    params: JsonObject = {}
    """Passed to the model as they are: temperature, max_tokens, ..."""
    instructions: str | None = None
    """Jinja2 template of the system message, over the step's input."""
    prompt: PromptRef | None = None
    message: str | None = None
    """Jinja2 template of the user message; default: the input when it is text, else its `message`, else its JSON."""

    @model_validator(mode="after")
    def _one_source(self) -> "AgentSpec":
        if self.instructions is not None and self.prompt is not None:
            raise ValueError("give instructions or a prompt, not both")
        reserved = {"model", "messages", "stream", "stream_options", "response_format"} & self.params.keys()
        if reserved:
            raise ValueError(f"params must not hold {', '.join(sorted(reserved))}: the agent sets them")
        secret = find_secret_name(self.params)
        if secret is not None:
            raise ValueError(
                f"params must not hold {secret}: definitions are stored and shown in clear; "
                "credentials belong to the upstream, in STUDIO_UPSTREAMS"
            )
        return self


class AgentDefinition(AgentSpec):
    kind: Literal["agent"] = "agent"
    name: Name
    project_id: Name = "default"
    description: str = ""
