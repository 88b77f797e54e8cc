"""Processes of two versions side by side, as in a rolling deploy."""

from types import ModuleType
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from studio.contracts import activities, events, resources, traces
from studio.contracts.base import Page, Wire
from studio.contracts.definitions import ResolvedDefinition, WorkflowDefinition
from studio.contracts.prompts import Prompt, PromptDraft, PromptVersion, RenderedPrompt, ResolvedPrompt
from studio.contracts.runs import Run, RunContext, RunEnd, RunProgress, RunRequest, StartRun, StepRun
from studio.contracts.spans import Span
from studio.engine.state import RunState

WORKFLOW: dict[str, Any] = {"name": "w", "pattern": "sequential", "steps": [{"id": "s", "transform": 1}]}
CONTEXT: dict[str, Any] = {
    "run_id": "r",
    "project_id": "p",
    "workflow_name": "w",
    "workflow_version": 1,
    "trace_id": "a" * 32,
}


def models_of(*modules: ModuleType) -> list[type[BaseModel]]:
    return [
        value
        for module in modules
        for value in module.__dict__.values()
        if isinstance(value, type) and issubclass(value, BaseModel) and value.__module__ == module.__name__
    ]


class TestNewerField:
    @pytest.mark.parametrize(
        "model",
        [
            *models_of(activities, events, resources, traces),
            *(Run, Span, RunContext, RunEnd, RunProgress, RunRequest, StepRun, RunState, ResolvedDefinition, Page),
            *(Prompt, PromptVersion, RenderedPrompt, ResolvedPrompt),
        ],
    )
    def test_is_skipped_by_every_exchanged_model(self, model: type[BaseModel]) -> None:
        assert issubclass(model, Wire)
        assert model.model_config.get("extra") in {"ignore", "allow"}

    def test_is_skipped_deep_inside_a_workflow_argument(self) -> None:
        newer = {"context": CONTEXT | {"tenant": "t"}, "root_span_id": "b" * 16, "colour": 5}
        read = TypeAdapter(RunRequest).validate_python(newer)
        assert read.context == RunContext(**CONTEXT)
        assert "colour" not in read.model_dump()

    def test_is_skipped_beside_a_definition(self) -> None:
        stamps = {"created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z"}
        stored = resources.StoredWorkflow.model_validate({**WORKFLOW, **stamps, "id": "x", "version": 1, "etag": "e"})
        assert stored.version == 1


class TestWhatPeopleWrite:
    @pytest.mark.parametrize("model", [StartRun, WorkflowDefinition, PromptDraft])
    def test_refuses_unknown_fields(self, model: type[BaseModel]) -> None:
        with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
            model.model_validate({"odd": 1})

    def test_also_inside_what_is_exchanged(self) -> None:
        with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
            ResolvedDefinition.model_validate({"workflow": {**WORKFLOW, "odd": 1}})
