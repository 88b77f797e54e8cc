"""What can be found wrong with definition files without a running stack."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from api.apply.checking import Checked, check_documents
from api.apply.parsing import SourceDocument
from cli.files import Place, Sources
from prompt_service.prompts.rendering import CompiledPrompt
from prompt_service.prompts.variables import check_schema
from studio.contracts.definitions import AnyDefinition, WorkflowDefinition
from studio.contracts.prompts import PromptDocument
from studio.contracts.reports import Graph
from studio.contracts.schedules import ScheduleDefinition
from studio.engine.checks import agent_references, workflow_references
from studio.engine.drawing import workflow_graph
from studio.errors import FieldError, InvalidInput
from studio.json_schema import fit

Named = tuple[list[str | int], str, str]
"""Where a definition names another one, its kind and its name."""


@dataclass(frozen=True)
class OfflineReport:
    errors: list[Place]
    warnings: list[Place]
    graph: Graph
    """Of the first workflow."""


def check_offline(sources: Sources) -> OfflineReport:
    """All that `apply` would refuse, but for what is only stored: a name that is in no file gives a warning."""
    checked = check_documents([SourceDocument(document.value, document) for document in sources.documents])
    for index, prompt in checked.prompts().items():
        checked.add(index, _prompt_errors(prompt))
    for index, definition in checked.stored().items():
        _check_names(checked, index, definition)
    first = next((found for found in checked.stored().values() if isinstance(found, WorkflowDefinition)), None)
    return OfflineReport(
        errors=_places(sources, checked.ordered()),
        warnings=_places(sources, checked.ordered_warnings()),
        graph=Graph() if first is None else Graph.model_validate(workflow_graph(first)),
    )


def _places(sources: Sources, found: Sequence[tuple[int, FieldError]]) -> list[Place]:
    return [sources.place(index, error) for index, error in found]


def _prompt_errors(prompt: PromptDocument) -> list[FieldError]:
    content = prompt.content()
    if content is None:
        return []
    try:
        if content.variables is not None:
            check_schema(content.variables, content)
        CompiledPrompt(content)
    except InvalidInput as error:
        return error.errors or [FieldError(loc=[], msg=error.detail, type="template")]
    return []


def _check_names(checked: Checked, index: int, definition: AnyDefinition) -> None:
    known = {
        (other.kind, other.name): other
        for other in checked.stored().values()
        if other.project_id == definition.project_id
    }
    for loc, kind, ref in _named(definition):
        if (kind, ref) not in known:
            close = difflib.get_close_matches(ref, [name for other, name in known if other == kind], 1)
            hint = f"did you mean {close[0]!r}?" if close else "`studio validate --online` asks the stack for it"
            message = f"none of the files holds the {kind} {ref!r}"
            checked.warn(index, [FieldError(loc=loc, msg=message, type=f"unknown_{kind}", hint=hint)])
    if isinstance(definition, ScheduleDefinition) and definition.run_version is None:
        target = known.get(definition.target)
        schema = target.input_schema if isinstance(target, WorkflowDefinition) else None
        checked.add(index, fit(definition.input, schema, ["input"])[1])


def _named(definition: AnyDefinition) -> list[Named]:
    if isinstance(definition, WorkflowDefinition):
        agents = [(loc, "agent", ref) for loc, ref in agent_references(definition)]
        return [*agents, *((loc, "workflow", ref) for loc, ref in workflow_references(definition))]
    if isinstance(definition, ScheduleDefinition):
        kind, ref = definition.target
        return [([kind], kind, ref)]
    return []
