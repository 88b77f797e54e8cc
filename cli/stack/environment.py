"""What each part finds in its environment: what a program needs to run, and its own settings.

Nothing else of the user's environment is passed on, since much of it is secret and every process of the same user can
read the environment of the others.
"""

import os
import re
from collections.abc import Mapping
from typing import Any

from studio.errors import SettingsError
from studio.settings import PREFIX, StudioSettings, load_settings

MIGRATIONS = "migrations"
"""The step between the servers and the services."""

_PROGRAM = re.compile(
    r"(PATH|HOME|USER|LOGNAME|SHELL|HOSTNAME|PWD|LANG|LANGUAGE|TZ|TZDIR|TERM|NO_COLOR|TMPDIR|TMP|TEMP|VIRTUAL_ENV|"
    r"LD_LIBRARY_PATH|LD_PRELOAD|SSL_CERT_FILE|SSL_CERT_DIR|(LC|XDG|OMP|MALLOC|CUDA|GGML|COVERAGE)_\w+|"
    r"PYTHON\w+|GO(MAXPROCS|MEMLIMIT|GC|DEBUG|TRACEBACK))"
)
"""Every part: where things are, language and time zone, memory and threads."""
_NETWORK = re.compile(r"(OTEL_\w+|(https?|all|no|grpc)_proxy)", re.IGNORECASE)
"""Our services: the way out, and where telemetry goes."""
_OBJECT_STORE = re.compile(r"AWS_\w+")
"""With `STUDIO_BLOB_URL`, what keeps payloads: its credentials."""
_NOT_FOR_MIGRATIONS = frozenset({"upstreams", "model_aliases", "secret_keys"})


def settings_class(service: str) -> type[StudioSettings]:
    """The settings of one of our four services."""
    match service:
        case "api":
            from api.settings import ApiSettings

            return ApiSettings
        case "llm":
            from llm_service.settings import LlmSettings

            return LlmSettings
        case "prompts":
            from prompt_service.settings import PromptSettings

            return PromptSettings
        case "worker":
            from activities.settings import WorkerSettings

            return WorkerSettings
        case _:
            raise ValueError(service)


def own_environment() -> dict[str, str]:
    """All that this process was given, for the same command in the background."""
    return dict(os.environ)


def inherited(part: str) -> dict[str, str]:
    """What `part` gets of this process's environment. It is `migrations`, or a part's name."""
    variables = _variables(part)
    return {name: value for name, value in os.environ.items() if _is_for(name, variables)}


def own(part: str, planned: Mapping[str, str]) -> dict[str, str]:
    """Of what the plan says, what concerns one service or the migrations."""
    variables = _variables(part)
    return {name: value for name, value in planned.items() if name in variables}


def object_store() -> dict[str, str]:
    """The credentials of the object store."""
    return {name: value for name, value in os.environ.items() if _OBJECT_STORE.fullmatch(name)}


def named(names: frozenset[str]) -> dict[str, str]:
    """These variables of this process's environment, as far as they are set."""
    return {name: os.environ[name] for name in sorted(names) if name in os.environ}


def check_settings(services: Mapping[str, Mapping[str, str]]) -> None:
    """Read each service's settings as it will read them itself, those of the plan beside the user's own.

    Raises `SettingsError` with all that is wrong, each fault once.
    """
    faults: dict[str, None] = {}
    for service, planned in services.items():
        values: dict[str, Any] = {name.removeprefix(PREFIX).lower(): value for name, value in planned.items()}
        try:
            load_settings(settings_class(service), **values)
        except SettingsError as error:
            faults |= dict.fromkeys(error.detail.splitlines())
    if faults:
        raise SettingsError("\n".join(faults))


def _variables(part: str) -> frozenset[str]:
    """The `STUDIO_…` variables that the part reads; none for a server that is not ours."""
    if part == MIGRATIONS:
        from cli.stack.settings import StackSettings

        fields = {*StackSettings.model_fields, *settings_class("prompts").model_fields} - _NOT_FOR_MIGRATIONS
    elif part in {"api", "llm", "prompts", "worker"}:
        fields = set(settings_class(part).model_fields)
    else:
        return frozenset()
    return frozenset(PREFIX + field.upper() for field in (*fields, "config"))


def _is_for(name: str, variables: frozenset[str]) -> bool:
    if name.upper().startswith(PREFIX):
        return name.upper() in variables
    return bool(_PROGRAM.fullmatch(name) or (variables and _NETWORK.fullmatch(name)))
