"""Prompts: what is stored, promoted, resolved and rendered.

A prompt's document is `kind: prompt` and the fields of `POST /api/v1/prompts`.
"""

from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import Discriminator, Field, SerializerFunctionWrapHandler, Strict, Tag, model_serializer, model_validator

from studio.contracts.base import Contract, Identifier, JsonObject, Name, Timestamp, Wire

PromptType = Literal["text", "chat"]
PromptEngine = Literal["jinja2", "plain"]
CacheState = Literal["hit", "miss", "bypass"]
DEFAULT_LABEL = "production"
DEFAULT_PROJECT = "default"

Tags = Annotated[list[Annotated[str, Field(min_length=1, max_length=64)]], Field(max_length=50)]
Note = Annotated[str, Field(max_length=2000)]
VersionNumber = Annotated[int, Strict(), Field(ge=1, le=2_147_483_647)]


class TextMessage(Contract):
    """One message whose `content` is a template."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str
    name: str | None = None

    @model_serializer(mode="wrap")
    def _without_null(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {field: value for field, value in dump(self).items() if value is not None}


class PlaceholderMessage(Contract):
    """Stands for a list of messages given as the variable of this name and put in unchanged, tool calls and all."""

    placeholder: Identifier


def _message_form(value: Any) -> str:
    if isinstance(value, dict):
        return "<placeholder>" if "placeholder" in value else "<message>"
    return "<placeholder>" if isinstance(value, PlaceholderMessage) else "<message>"


MessageTemplate = Annotated[
    Annotated[TextMessage, Tag("<message>")] | Annotated[PlaceholderMessage, Tag("<placeholder>")],
    Discriminator(_message_form),
]
Messages = Annotated[list[MessageTemplate], Field(min_length=1, max_length=200)]


TemplatesT = TypeVar("TemplatesT", bound="Templates")


def _with_templates(content: TemplatesT) -> TemplatesT:
    if not content.has_templates():
        raise ValueError("give either 'template' or 'messages'")
    return content


class Templates(Contract):
    """A text or a list of messages, not both."""

    engine: PromptEngine = "jinja2"
    """`plain` never touches a brace."""
    template: str | None = None
    messages: Messages | None = None

    def texts(self) -> list[tuple[tuple[str | int, ...], str]]:
        """Every template with its place in this object."""
        if self.template is not None:
            return [(("template",), self.template)]
        return [
            (("messages", index, "content"), message.content)
            for index, message in enumerate(self.messages or [])
            if isinstance(message, TextMessage)
        ]

    def placeholders(self) -> list[str]:
        return [message.placeholder for message in self.messages or [] if isinstance(message, PlaceholderMessage)]

    @model_validator(mode="after")
    def _check_one_form(self) -> "Templates":
        if self.template is not None and self.messages is not None:
            raise ValueError("give either 'template' or 'messages'")
        return self

    def has_templates(self) -> bool:
        return self.template is not None or self.messages is not None


class PromptContent(Templates):
    """What a version holds."""

    variables: JsonObject | None = None
    """JSON Schema (2020-12) of the variables object; inferred from the templates when left out."""
    config: JsonObject | None = None


class VersionDraft(PromptContent):
    """Body of `POST /prompts/{ref}/versions`."""

    message: Note = ""
    """What changed, for the history."""

    @model_validator(mode="after")
    def _check_given(self) -> "VersionDraft":
        return _with_templates(self)


class PromptVersion(PromptContent, Wire):
    """An immutable version."""

    prompt_id: str
    name: str
    project_id: str
    type: PromptType
    version: int
    message: str = ""
    created_at: Timestamp
    created_by: str


class _Described(PromptContent):
    name: Name
    project_id: Name = DEFAULT_PROJECT
    description: str = ""
    type: PromptType = "chat"
    """Left out, it follows from `template` or `messages`."""
    tags: Tags = []
    message: Note = ""

    @model_validator(mode="before")
    @classmethod
    def _infer_type(cls, value: Any) -> Any:
        if isinstance(value, dict):
            given = cast("dict[str, Any]", value)
            if "type" not in given and given.get("template") is not None and given.get("messages") is None:
                return {**given, "type": "text"}
        return cast("Any", value)

    @model_validator(mode="after")
    def _check_content(self) -> "_Described":
        if self.type == "chat" and self.template is not None:
            raise ValueError("a prompt of type 'chat' holds 'messages', not a 'template'")
        if self.type == "text" and self.messages is not None:
            raise ValueError("a prompt of type 'text' holds a 'template', not 'messages'")
        return self

    def content(self) -> PromptContent | None:
        """What the version that this carries holds, if it carries one."""
        if not self.has_templates():
            return None
        return PromptContent(
            engine=self.engine,
            template=self.template,
            messages=self.messages,
            variables=self.variables,
            config=self.config,
        )


class PromptDraft(_Described):
    """Body of `POST /prompts`; may carry the first version, and with `label` promotes it."""

    label: Name | None = None

    @model_validator(mode="after")
    def _check_label(self) -> "PromptDraft":
        if not self.has_templates():
            beside = {"label", "variables", "config", "message", "engine"} & self.model_fields_set
            if beside:
                raise ValueError(f"{min(beside)!r} needs a 'template' or 'messages' beside it")
        return self


class PromptDocument(_Described):
    """A prompt as a file holds it. Applying makes a version if the content differs and promotes `label` to it."""

    kind: Literal["prompt"] = "prompt"
    label: Name | None = DEFAULT_LABEL
    """Null promotes nothing."""

    @model_validator(mode="after")
    def _check_present(self) -> "PromptDocument":
        return _with_templates(self)


class PromptPatch(Contract):
    """Body of `PATCH /prompts/{ref}`; what is left out stays."""

    description: str | None = None
    tags: Tags | None = None


class Prompt(Wire):
    """A prompt. `version` and `latest_version` are the newest version's number (0 while there is none); `revision`
    counts every change, and is the ETag.
    """

    id: str
    name: str
    project_id: str
    description: str
    type: PromptType
    tags: list[str]
    labels: dict[str, int]
    latest_version: int
    version: int
    revision: int
    created_at: Timestamp
    updated_at: Timestamp


class PromoteRequest(Contract):
    """`expected` is the version the label must point to now; null means that the label must not exist yet."""

    version: VersionNumber
    label: Name = DEFAULT_LABEL
    expected: VersionNumber | None = None
    reason: Note = ""


class Promotion(Wire):
    id: str
    prompt_id: str
    label: str
    from_version: Annotated[int | None, Field(alias="from")]
    to_version: Annotated[int, Field(alias="to")]
    actor: str
    reason: str
    promoted_at: Timestamp


class PromptIdentity(Wire):
    id: str
    name: str
    project_id: str
    type: PromptType


class ResolvedPrompt(PromptContent, Wire):
    """The version that a caller gets."""

    prompt: PromptIdentity
    version: int
    label: str | None
    revision: int
    cache: CacheState


class RenderRequest(Contract):
    """Body of `POST /prompts/{ref}/render`; without `label` and `version` the label is `production`."""

    variables: JsonObject = {}
    label: Name | None = None
    version: VersionNumber | None = None

    @model_validator(mode="after")
    def _check_one_choice(self) -> "RenderRequest":
        if self.label is not None and self.version is not None:
            raise ValueError("give either 'label' or 'version'")
        return self


class UnstoredRenderRequest(Templates):
    """Body of `POST /render`: a template that is not stored. `variables` are their values."""

    variables: JsonObject = {}

    @model_validator(mode="after")
    def _check_given(self) -> "UnstoredRenderRequest":
        return _with_templates(self)


class Rendered(Wire):
    """`text` of a text prompt, `messages` of a chat prompt."""

    text: str | None = None
    messages: list[JsonObject] | None = None
    content_hash: str
    """SHA-256 (hex) of the canonical JSON of `text` or `messages`."""


class RenderedPrompt(Rendered):
    prompt_id: str
    name: str
    version: int
    config: JsonObject | None = None


class ApplyPrompts(Contract):
    """Body of `POST /prompts:apply`: everything is checked before anything is written."""

    prompts: Annotated[list[PromptDocument], Field(max_length=1000)]
    dry_run: Annotated[bool, Strict()] = False


class AppliedPrompt(Wire):
    kind: Literal["prompt"] = "prompt"
    name: str
    action: Literal["created", "updated", "unchanged"]


class ApplyResult(Wire):
    results: list[AppliedPrompt]
