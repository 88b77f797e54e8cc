"""JSON merge patch (RFC 7396)."""

from typing import cast

from studio.contracts.base import Json, JsonObject


def merge_patch(target: Json, patch: Json) -> Json:
    """Return `target` changed as `patch` says: null removes a member, objects merge, anything else replaces."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(cast("JsonObject", target)) if isinstance(target, dict) else {}
    for key, value in cast("JsonObject", patch).items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged
