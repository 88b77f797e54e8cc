"""The OpenAPI documents of the three services, without starting anything."""

from collections.abc import Mapping
from pathlib import Path

from api.app import create_app as create_api
from llm_service.app import create_app as create_llm
from llm_service.settings import LlmSettings
from prompt_service.app import create_app as create_prompts
from prompt_service.settings import PromptSettings
from studio.contracts.base import JsonObject
from studio.settings import load_settings
from tests.support.services import api_settings

NOWHERE = "http://127.0.0.1:1"


def documents() -> Mapping[str, JsonObject]:
    """By the services' names: `api`, `prompts`, `llm`."""
    prompt_settings = load_settings(
        PromptSettings,
        mongo_url="mongodb://127.0.0.1:1",
        redis_url="redis://127.0.0.1:1",
        clickhouse_url="chdb:///none",
    )
    llm_settings = load_settings(LlmSettings, upstreams=[{"name": "up", "base_url": NOWHERE}])
    return {
        "api": create_api(api_settings(Path("/none"))).openapi(),
        "prompts": create_prompts(prompt_settings).openapi(),
        "llm": create_llm(llm_settings).app.openapi(),
    }
