"""From documents to definitions, with everything that is wrong found at once."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast, get_args

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from api.apply.parsing import SourceDocument
from api.definitions.checks import definition_errors, definition_warnings
from studio.clients.prompts import PromptClient
from studio.contracts.base import Json, JsonObject
from studio.contracts.definitions import (
    SHAPES,
    AnyDefinition,
    DefinitionKind,
    WorkflowDefinition,
    parse_definition,
)
from studio.contracts.prompts import PromptDocument
from studio.contracts.reports import DocumentKind
from studio.contracts.schedules import ScheduleDefinition
from studio.errors import FieldError, InvalidInput
from studio.schemas.meter import MAX_STEPS, Meter
from studio.store.definitions import Lock
from studio.store.references import reference_errors, schedules_refused_by, target_errors
from studio.web.field_errors import field_errors

_SHAPES: dict[DocumentKind, Any] = {**SHAPES, "prompt": PromptDocument}
_TELLING: dict[DocumentKind, frozenset[str]] = {
    "workflow": frozenset({"pattern", "steps", "branches", "nodes", "cases"}),
    "schedule": frozenset({"cron", "interval", "overlap"}),
    "prompt": frozenset({"template", "messages"}),
    "agent": frozenset({"model", "instructions", "message", "params"}),
}
KINDS: tuple[DocumentKind, ...] = get_args(DocumentKind)


@dataclass
class Checked:
    """The documents of one request. `errors` are by document; their `loc` is relative to it."""

    sources: Sequence[SourceDocument]
    definitions: dict[int, AnyDefinition | PromptDocument] = field(
        default_factory=dict[int, "AnyDefinition | PromptDocument"]
    )
    """By the document's place; one that could not be read is left out."""
    errors: list[tuple[int, FieldError]] = field(default_factory=list[tuple[int, FieldError]])

    warnings: list[tuple[int, FieldError]] = field(default_factory=list[tuple[int, FieldError]])
    """Of documents that have no errors by themselves."""
    meter: Meter = field(default_factory=lambda: Meter(2 * MAX_STEPS))
    """Of what checking all their schemas and inputs may cost."""

    def warn(self, index: int, warnings: Sequence[FieldError]) -> None:
        self.warnings += [(index, self.sources[index].locate(warning)) for warning in warnings]

    def add(self, index: int, errors: Sequence[FieldError]) -> None:
        self.errors += [(index, self.sources[index].locate(error)) for error in errors]

    def ordered(self) -> list[tuple[int, FieldError]]:
        """The errors as somebody reading the documents meets them."""
        return _in_order(self.errors)

    def ordered_warnings(self) -> list[tuple[int, FieldError]]:
        return _in_order(self.warnings)

    def prompts(self) -> dict[int, PromptDocument]:
        return {index: found for index, found in self.definitions.items() if isinstance(found, PromptDocument)}

    def stored(self) -> dict[int, AnyDefinition]:
        return {index: found for index, found in self.definitions.items() if not isinstance(found, PromptDocument)}


def _in_order(found: list[tuple[int, FieldError]]) -> list[tuple[int, FieldError]]:
    return sorted(found, key=lambda one: (one[0], one[1].line or 0))


def check_documents(sources: Sequence[SourceDocument]) -> Checked:
    """Everything that can be known without the store."""
    checked = Checked(sources)
    first: dict[tuple[str, str, str], int] = {}
    for index, source in enumerate(sources):
        read = _read(source.value)
        if isinstance(read, list):
            checked.add(index, read)
            continue
        identity = (read.kind, read.project_id, read.name)
        if identity in first:
            message = f"the {read.kind} {read.name!r} is here twice; it is also document {first[identity] + 1}"
            checked.add(index, [FieldError(loc=["name"], msg=message, type="duplicate_document")])
            continue
        first[identity] = index
        checked.definitions[index] = read
        if not isinstance(read, PromptDocument):
            errors = definition_errors(read, checked.meter)
            checked.add(index, errors)
            checked.warn(index, [] if errors else definition_warnings(read))
    return checked


def _read(value: Json) -> AnyDefinition | PromptDocument | list[FieldError]:
    if not isinstance(value, dict):
        return [FieldError(loc=[], msg="a document is an object with a `kind`", type="not_an_object")]
    kind: Any = cast("JsonObject", value).get("kind")
    if kind not in KINDS:
        found = "there is no `kind`" if kind is None else f"the kind {kind!r} is unknown"
        close = difflib.get_close_matches(str(kind), KINDS, 1)
        hint = f"did you mean {close[0]!r}?" if close else _likely_kind(cast("JsonObject", value))
        message = f"{found}: write one of {', '.join(KINDS)}"
        return [FieldError(loc=["kind"] if kind is not None else [], msg=message, type="unknown_kind", hint=hint)]
    try:
        return PromptDocument.model_validate(value) if kind == "prompt" else parse_definition(kind, value)
    except ValidationError as error:
        return field_errors(error, shape=_SHAPES[kind])


def _likely_kind(document: JsonObject) -> str | None:
    """By the fields that only one kind has."""
    for kind, fields in _TELLING.items():
        if fields & document.keys():
            return f"write `kind: {kind}` first, it seems"
    return None


async def check_references(session: AsyncSession, checked: Checked, *, lock: Lock | None = None) -> None:
    """Agents and workflows that workflows and schedules name must be stored, or be among the documents."""
    stored, meter = checked.stored(), checked.meter
    beside: dict[str, dict[tuple[DefinitionKind, str], AnyDefinition]] = {}
    for definition in stored.values():
        beside.setdefault(definition.project_id, {})[definition.kind, definition.name] = definition
    for index, definition in stored.items():
        if isinstance(definition, WorkflowDefinition):
            also = beside[definition.project_id]
            checked.add(index, await reference_errors(session, definition, also=also, lock=lock, meter=meter))
            schedules = {name for kind, name in also if kind == "schedule"}
            checked.warn(index, await schedules_refused_by(session, definition, schedules, meter))
        elif isinstance(definition, ScheduleDefinition):
            also = beside[definition.project_id]
            checked.add(index, await target_errors(session, definition, also=also, lock=lock, meter=meter))


async def check_prompts(prompts: PromptClient, checked: Checked) -> None:
    """Ask the prompt engine what it would refuse."""
    documents = checked.prompts()
    if not documents:
        return
    places = list(documents)
    try:
        await prompts.apply(list(documents.values()), dry_run=True)
    except InvalidInput as refusal:
        for error in refusal.errors or [FieldError(loc=[], msg=refusal.detail, type="prompt")]:
            index, loc = _place(error.loc, places)
            checked.add(index, [error.model_copy(update={"loc": loc})])


def _place(loc: Sequence[str | int], places: Sequence[int]) -> tuple[int, list[str | int]]:
    """From `body.prompts.N.field` to the document it came from."""
    match loc:
        case ["body", "prompts", int(position), *rest] if position < len(places):
            return places[position], rest
        case _:
            return places[0], []
