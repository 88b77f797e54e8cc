"""The two kinds of JSON values that hold others."""

from typing import TypeGuard

from studio.contracts.base import Json, JsonObject


def is_object(value: Json) -> TypeGuard[JsonObject]:
    return isinstance(value, dict)


def is_array(value: Json) -> TypeGuard[list[Json]]:
    return isinstance(value, list)
