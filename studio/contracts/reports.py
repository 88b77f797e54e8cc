"""What apply and validate found in documents."""

from typing import Literal

from studio.contracts.base import Json, Name, Wire

DocumentKind = Literal["agent", "workflow", "schedule", "prompt"]


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
