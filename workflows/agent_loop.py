"""The native agent: each model call is an activity of its own, so that a crash costs none of the calls before it."""

from collections.abc import Callable

from temporalio import workflow

from studio.contracts.activities import (
    CompletionRequest,
    CompletionResult,
    Opening,
    RenderPromptRequest,
    StepContext,
)
from studio.contracts.definitions import ResolvedAgent
from studio.engine.caching import caching_of
from studio.engine.state import RunAgent
from workflows import calls, policies


async def run_agent(agent: ResolvedAgent, command: RunAgent, context: Callable[[int], StepContext]) -> CompletionResult:
    """Render the agent's prompt, if it has one, and ask the model.

    `context` is asked anew for each call, since it carries the events that are to be published; it is told how many
    attempts of calls before it failed.
    Raises `ActivityError` when a call failed for good, `CancelledError` when the step was cancelled.
    """
    spec, given = agent.spec, command.input
    params = spec.params
    if command.output_schema is not None:
        form = {"name": "answer", "schema": command.output_schema}
        params = params | {"response_format": {"type": "json_schema", "json_schema": form}}
    caching = caching_of(agent, command)
    deadline = workflow.now() + command.timeout if command.timeout else None
    options = calls.CallOptions(policies.retry_policy(command.retry), deadline)
    if spec.prompt is None:
        opening = Opening(instructions=spec.instructions, message=spec.message, input=given)
        request = CompletionRequest(step=context(0), opening=opening, model=spec.model, params=params, cache=caching)
    else:
        rendered = await calls.render_prompt(
            RenderPromptRequest(step=context(0), prompt=spec.prompt, message=spec.message, input=given),
            options,
            f"agent {agent.name} · prompt {spec.prompt.name}",
        )
        request = CompletionRequest(
            step=context(rendered.attempt - 1),
            length=rendered.length,
            model=spec.model,
            params=params,
            prompt=rendered.prompt,
            cache=caching,
        )
    return await calls.complete_chat(request, options, f"agent {agent.name} · turn 1")
