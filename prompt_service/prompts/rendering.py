"""Rendering a version: check the variables, fill the templates, hash the result."""

import asyncio
import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import orjson

from prompt_service.prompts.variables import VariableCheck, infer_schema
from studio.contracts.base import Json, JsonObject
from studio.contracts.prompts import PlaceholderMessage, PromptContent
from studio.errors import FieldError, InvalidInput
from studio.sandbox.budget import RenderBudget
from studio.templates import Template, TemplateTimeout, compile_template, render_budget

INLINE_SECONDS = 0.005
"""A render gets this long on the event loop; one that needs longer starts again in a thread."""
SLOW_RENDERS = 2
COMPILE_INLINE_CHARACTERS = 4096


def canonical_json(value: Json) -> bytes:
    """Compact, keys sorted. Raises `InvalidInput` for a number that JSON readers would change."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError as error:
        raise InvalidInput(f"Not storable as JSON: {error}.") from None


class CompiledPrompt:
    """A version's content, ready to be rendered any number of times."""

    def __init__(self, content: PromptContent) -> None:
        schema = content.variables if content.variables is not None else infer_schema(content)
        self._check = VariableCheck(schema)
        self._content = content
        self._templates: dict[str, Template] = {}
        if content.engine == "jinja2":
            self._templates = {text: compile_template(text) for _, text in content.texts()}

    def render(self, variables: Mapping[str, Json], budget: RenderBudget) -> str | list[JsonObject]:
        """The text, or the messages."""
        self._check.check(variables, budget)
        if self._content.template is not None:
            return self._fill(self._content.template, variables, budget)
        messages: list[JsonObject] = []
        for message in self._content.messages or []:
            if isinstance(message, PlaceholderMessage):
                messages.extend(_given_messages(message.placeholder, variables[message.placeholder]))
                continue
            text = self._fill(message.content, variables, budget)
            filled: JsonObject = {"role": message.role, "content": text}
            messages.append(filled if message.name is None else {**filled, "name": message.name})
        return messages

    def _fill(self, text: str, variables: Mapping[str, Json], budget: RenderBudget) -> str:
        template = self._templates.get(text)
        return text if template is None else template.render(variables, budget)


def _given_messages(name: str, value: Json) -> list[JsonObject]:
    messages = cast("list[Any]", value) if isinstance(value, list) else None
    if messages is None or not all(isinstance(message, dict) and "role" in message for message in messages):
        message = f"The variable {name!r} must be a list of messages, each an object with a 'role'."
        raise InvalidInput(message, errors=[FieldError(loc=["variables", name], msg=message, type="messages")])
    return messages


def content_hash(rendered: str | list[JsonObject]) -> str:
    """SHA-256 (hex) of the canonical JSON."""
    return hashlib.sha256(canonical_json(rendered)).hexdigest()


class Renderer:
    """Keeps the event loop free: what is quick is rendered on it, what is not in a thread."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(SLOW_RENDERS, thread_name_prefix="render")

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def compile(self, content: PromptContent) -> CompiledPrompt:
        """Raises `InvalidInput` for a template that is none."""
        if content.engine == "jinja2":
            for _, text in content.texts():
                await self.compile_text(text)
        return CompiledPrompt(content)

    async def compile_text(self, text: str) -> Template:
        """Raises `InvalidInput` for a template that is none."""
        if len(text) <= COMPILE_INLINE_CHARACTERS:
            return compile_template(text)
        return await asyncio.get_running_loop().run_in_executor(self._threads, compile_template, text)

    async def render(self, prompt: CompiledPrompt, variables: Mapping[str, Json]) -> str | list[JsonObject]:
        try:
            return prompt.render(variables, render_budget(INLINE_SECONDS))
        except TemplateTimeout:
            return await asyncio.get_running_loop().run_in_executor(self._threads, _render_slowly, prompt, variables)


def _render_slowly(prompt: CompiledPrompt, variables: Mapping[str, Json]) -> str | list[JsonObject]:
    return prompt.render(variables, render_budget())
