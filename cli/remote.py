"""Calls to the services: one event loop a command, and every failure as a message and an exit code."""

import asyncio
import getpass
import socket
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import NoReturn, TypeVar

import typer
from pydantic import ValidationError
from rich.text import Text
from yarl import URL

from cli.output import err, safe
from cli.settings import load_cli_settings
from studio.clients.api import ApiClient
from studio.clients.prompts import PromptClient
from studio.errors import DependencyUnavailable, FieldError, SettingsError, StudioError

FAILED = 1
USAGE = 2
UNREACHABLE = 3
INTERRUPTED = 130
"""What shells say of a command that Ctrl-C ended."""

CONNECT_SECONDS = 3.0

ResultT = TypeVar("ResultT")


def with_api(work: Callable[[ApiClient], Awaitable[ResultT]]) -> ResultT:
    """Run `work` against the workflow engine.

    Raises `typer.Exit` when it fails and `KeyboardInterrupt` on Ctrl-C; what is no failure of a service passes through.
    """
    with _reported():
        url = load_cli_settings().api_url

        async def run() -> ResultT:
            async with ApiClient(url, actor=_actor()) as api:
                return await work(api)

        with _unreachable("the workflow engine", url, "STUDIO_API_URL"):
            return asyncio.run(run())


def api_answers() -> bool:
    """Whether something listens where the workflow engine should be."""
    with _reported():
        url = URL(load_cli_settings().api_url)
        try:
            with socket.create_connection((url.host or "", url.port or 80), CONNECT_SECONDS):
                return True
        except OSError:
            return False


def with_prompts(work: Callable[[PromptClient], Awaitable[ResultT]]) -> ResultT:
    """Run `work` against the prompt engine, likewise."""
    with _reported():
        url = load_cli_settings().prompt_url

        async def run() -> ResultT:
            async with PromptClient(url, actor=_actor()) as prompts:
                return await work(prompts)

        with _unreachable("the prompt engine", url, "STUDIO_PROMPT_URL"):
            return asyncio.run(run())


def _actor() -> str | None:
    """Whom histories name; None for a user id without a name, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None


@contextmanager
def _unreachable(service: str, url: str, variable: str) -> Generator[None]:
    try:
        yield
    except DependencyUnavailable as error:
        if error.dependency in service:
            _no_answer(f"{service} does not answer at {url}", variable)
        fail(f"{error.detail} ({service} at {url} says so.)", "`studio status` shows every part.", code=UNREACHABLE)
    except ValidationError:
        _no_answer(f"what answers at {url} is not {service} of this version", variable)


def _no_answer(message: str, variable: str) -> NoReturn:
    advice = f"`studio up` starts a local stack, `studio status` shows it; {variable} points to another one."
    fail(f"{message}.", advice, code=UNREACHABLE)


@contextmanager
def _reported() -> Generator[None]:
    try:
        yield
    except SettingsError as error:
        fail(error.detail, code=USAGE)
    except StudioError as error:
        if error.errors:
            fail(f"{error.title.lower()}:", *(_field_line(one) for one in error.errors))
        fail(error.detail)


def _field_line(error: FieldError) -> str:
    place = ".".join(str(part) for part in error.loc if part not in {"body", "query"})
    message = f"{error.msg} ({error.hint})" if error.hint else error.msg
    return f"{place}: {message}" if place else message


def fail(message: str, *advice: str, code: int = FAILED) -> NoReturn:
    """Say on standard error what went wrong and what to do, and end the command."""
    console = err()
    console.print(Text.assemble(("error: ", "bold red"), safe(message)))
    for line in advice:
        console.print(Text(f"  {safe(line)}"))
    raise typer.Exit(code)
