"""What a test runs: the workflows of the files, and the agents and prompts that they name."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from api.apply.checking import check_documents
from api.apply.parsing import SourceDocument
from cli.files import FilesRejected, Place, SourceFile, Sources
from prompt_service.prompts.rendering import CompiledPrompt, content_hash
from studio.contracts.agents import AgentDefinition, AgentSpec, PromptRef
from studio.contracts.base import JsonObject
from studio.contracts.definitions import (
    AnyWorkflow,
    ResolvedAgent,
    ResolvedDefinition,
    ResolvedWorkflow,
    WorkflowDefinition,
)
from studio.contracts.prompts import DEFAULT_LABEL, PromptDocument, Rendered
from studio.contracts.schedules import ScheduleDefinition
from studio.engine.checks import agent_references, workflow_references
from studio.errors import FieldError
from studio.templates import render_budget


@dataclass
class DefinitionFile:
    """One file's definitions, by name; a workflow with its place among the documents."""

    source: SourceFile
    workflows: dict[str, tuple[int, AnyWorkflow]] = field(default_factory=dict[str, tuple[int, AnyWorkflow]])
    agents: list[AgentDefinition] = field(default_factory=list[AgentDefinition])
    prompts: list[PromptDocument] = field(default_factory=list[PromptDocument])


def read_definitions(sources: Sources) -> list[DefinitionFile]:
    """Raises `FilesRejected` with all that can be known to be wrong without a store."""
    files: list[DefinitionFile] = []
    places: list[Place] = []
    for source in sources.files:
        checked = check_documents([SourceDocument(document.value, document) for document in source.documents])
        places += [placed(source, index, error) for index, error in checked.ordered()]
        files.append(DefinitionFile(source))
        for index, definition in checked.definitions.items():
            match definition:
                case WorkflowDefinition():
                    files[-1].workflows[definition.name] = (index, definition)
                case AgentDefinition():
                    files[-1].agents.append(definition)
                case PromptDocument():
                    files[-1].prompts.append(definition)
                case ScheduleDefinition():
                    pass  # says when, not what
    if places:
        raise FilesRejected(places)
    return files


def placed(source: SourceFile, index: int, error: FieldError) -> Place:
    """The place of an error of a file's document; its `loc` is relative to the document."""
    found = Sources([source]).place_error(error.model_copy(update={"loc": ["body", index, *error.loc]}))
    return found or Place(file=source.name, message=error.msg, hint=error.hint)


@dataclass(frozen=True)
class Library:
    """All that was read: a name means what the workflow's own file says, else what the first other file does."""

    files: Sequence[DefinitionFile]

    def resolve(self, own: DefinitionFile, workflow: AnyWorkflow) -> ResolvedDefinition:
        """With all that it and its child workflows name. Raises `FilesRejected` for what is in none of the files."""
        resolved = ResolvedDefinition(workflow=workflow, agents={}, workflows={})
        places: list[Place] = []
        pending = [(own, workflow)]
        while pending:
            file, holder = pending.pop()
            index = file.workflows[holder.name][0]
            for loc, ref in agent_references(holder):
                spec = self._agent(file, holder.project_id, ref)
                if spec is None:
                    places.append(placed(file.source, index, _missing("agent", ref, loc)))
                else:
                    resolved.agents.setdefault(ref, ResolvedAgent(name=ref, version=1, spec=spec))
            for loc, ref in workflow_references(holder):
                found = self._workflow(file, holder.project_id, ref)
                if found is None:
                    places.append(placed(file.source, index, _missing("workflow", ref, loc)))
                elif ref not in resolved.workflows:
                    resolved.workflows[ref] = ResolvedWorkflow(name=ref, version=1, workflow=found[1])
                    pending.append(found)
        if places:
            raise FilesRejected(places)
        return resolved

    def _workflow(self, own: DefinitionFile, project_id: str, name: str) -> tuple[DefinitionFile, AnyWorkflow] | None:
        """With the file that holds it."""
        for file in (own, *self.files):
            found = file.workflows.get(name)
            if found is not None and found[1].project_id == project_id:
                return file, found[1]
        return None

    def _agent(self, own: DefinitionFile, project_id: str, name: str) -> AgentSpec | None:
        for file in (own, *self.files):
            for agent in file.agents:
                if (agent.project_id, agent.name) == (project_id, name):
                    fields = agent.model_dump(include=set(AgentSpec.model_fields), exclude_unset=True)
                    return AgentSpec.model_validate(fields)
        return None

    def prompts(self, own: DefinitionFile, project_id: str) -> "FilePrompts":
        found = [prompt for file in (own, *self.files) for prompt in file.prompts]
        return FilePrompts([prompt for prompt in found if prompt.project_id == project_id])


def _missing(kind: str, ref: str, loc: list[str | int]) -> FieldError:
    hint = "name its file, or their folder, too"
    return FieldError(loc=loc, msg=f"no file holds the {kind} {ref!r}", type=f"unknown_{kind}", hint=hint)


class FilePrompts:
    """Renders the prompts of the files as the prompt engine does; it knows each one by its name and label."""

    def __init__(self, prompts: Sequence[PromptDocument]) -> None:
        self._prompts = prompts
        self._compiled: dict[str, CompiledPrompt] = {}

    def render(self, prompt: PromptRef, variables: JsonObject) -> Rendered | None:
        """None for a prompt that is in no file, or that is asked for by its version. Raises `InvalidInput`."""
        if prompt.version is not None:
            return None
        label = prompt.label or DEFAULT_LABEL
        found = next((one for one in self._prompts if (one.name, one.label) == (prompt.name, label)), None)
        content = found.content() if found is not None else None
        if content is None:
            return None
        key = f"{prompt.name}:{label}"
        if key not in self._compiled:
            self._compiled[key] = CompiledPrompt(content)
        filled = self._compiled[key].render(variables, render_budget())
        if isinstance(filled, str):
            return Rendered(text=filled, content_hash=content_hash(filled))
        return Rendered(messages=filled, content_hash=content_hash(filled))
