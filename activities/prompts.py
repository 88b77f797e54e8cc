"""Prompts of the prompt engine, rendered into a conversation."""

from temporalio import activity

from activities.run_events import RunEvents, attempt_of
from studio.clients.prompts import PromptClient
from studio.contracts.activities import FailureDetails, RenderPromptRequest, RenderPromptResult
from studio.engine.messages import prompt_messages, template_variables
from studio.store.conversations import ConversationStore


class PromptActivities:
    def __init__(self, prompts: PromptClient, conversations: ConversationStore, events: RunEvents) -> None:
        self._prompts = prompts
        self._conversations = conversations
        self._events = events

    @activity.defn(name="render_prompt")
    async def render_prompt(self, request: RenderPromptRequest) -> RenderPromptResult:
        """Render with the step's input as variables and open the conversation with it. Raises `ApplicationError`."""
        try:
            step = await self._events.begin(request.step)
            rendered = await self._prompts.render(
                request.prompt.name,
                template_variables(request.input),
                project_id=step.run.project_id,
                label=request.prompt.label,
                version=request.prompt.version,
            )
            messages = prompt_messages(rendered, request.message, request.input)
            length = await self._conversations.write(step.conversation_id, 0, messages)
        except Exception as error:
            used = FailureDetails(attempt=attempt_of(request.step))
            raise await self._events.failed(request.step, error, used) from error
        return RenderPromptResult(
            length=length, prompt=f"{rendered.name}@{rendered.version}", attempt=attempt_of(request.step)
        )
