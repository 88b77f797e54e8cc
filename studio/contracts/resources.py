"""What the workflow engine answers with, beside runs: stored definitions, and what apply and validate found."""

from typing import Literal

from pydantic import ConfigDict

from studio.contracts.agents import AgentDefinition
from studio.contracts.base import Json, Name, Timestamp, Wire
from studio.contracts.definitions import Pattern, WorkflowDefinition

DocumentKind = Literal["agent", "workflow", "schedule", "prompt"]


class StoredAgent(AgentDefinition, Wire):
    """An agent with what the store adds. `version` counts its changes from 1."""

    id: str
    version: int
    created_at: Timestamp
    updated_at: Timestamp


class StoredWorkflow(WorkflowDefinition, Wire):
    """A workflow with what the store adds, and the fields of its pattern. `version` counts its changes from 1."""

    model_config = ConfigDict(extra="allow")

    pattern: Pattern

    id: str
    version: int
    created_at: Timestamp
    updated_at: Timestamp


class AgentVersion(AgentDefinition, Wire):
    """An agent as it was. `created_at` is when this version was written, `actor` by whom."""

    id: str
    version: int
    created_at: Timestamp
    actor: str


class WorkflowVersion(WorkflowDefinition, Wire):
    """A workflow as it was, with the fields of its pattern. `created_at` is when this version was written, `actor` by
    whom.
    """

    model_config = ConfigDict(extra="allow")

    pattern: Pattern

    id: str
    version: int
    created_at: Timestamp
    actor: str


class Finding(Wire):
    """One thing that is wrong, or, as a warning, odd. `path` is a JSON Pointer (RFC 6901) into the document; line and
    column count from 1.
    """

    path: str
    message: str
    document: int = 0
    """Which document of the text, from 0."""
    line: int | None = None
    column: int | None = None
    hint: str | None = None


class AppliedDocument(Wire):
    kind: DocumentKind
    name: Name
    project_id: Name
    action: Literal["created", "updated", "unchanged"]
    warnings: list[Finding] = []
    """What is odd in it but was stored all the same."""


class ApplyReport(Wire):
    """One result a document, in their order."""

    results: list[AppliedDocument]
    dry_run: bool = False


class Graph(Wire):
    """Nodes and edges for drawing; a node's `id` is the step's path, `block` the path of the block that holds it."""

    nodes: list[dict[str, Json]] = []
    edges: list[dict[str, Json]] = []


class ValidationReport(Wire):
    valid: bool
    errors: list[Finding]
    warnings: list[Finding] = []
    """What is odd but works; `apply` takes it."""
    graph: Graph
    """Of the first workflow; empty when it could not be read."""
