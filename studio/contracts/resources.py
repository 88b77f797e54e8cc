"""Definitions as the workflow engine stores them and answers with them."""

from typing import ClassVar

from pydantic import ConfigDict

from studio.contracts.agents import AgentDefinition
from studio.contracts.base import Timestamp, Wire
from studio.contracts.definitions import Pattern, WorkflowDefinition


class Stored(Wire):
    """What a list of any kind of definitions shows, whether of its newest version or of an older one."""

    model_config = ConfigDict(extra="ignore")

    ADDED: ClassVar = frozenset({"id", "version", "created_at", "updated_at", "actor"})
    """The fields that are no part of the document."""

    id: str
    name: str
    project_id: str = "default"
    description: str | None = None
    version: int
    created_at: Timestamp | None = None
    updated_at: Timestamp | None = None
    unreadable: str | None = None
    """Of a row that cannot be read: why."""


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


class UnreadableDefinition(Wire):
    """Stands in a list for a definition whose row cannot be read. `PUT` writes it again."""

    id: str
    name: str
    project_id: str
    version: int
    unreadable: str
    """Why."""


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
