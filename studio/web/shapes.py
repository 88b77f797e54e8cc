"""Which fields a place of a contract has, found from its type."""

from collections.abc import Sequence
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, Tag


def fields_at(shape: Any, loc: Sequence[str | int]) -> list[str]:
    """The fields as users write them, of the model that `loc` leads to; empty where it leads to none.

    `loc` is as Pydantic gives it, the tags of unions included.
    """
    model = shape
    for part in loc:
        model = _inside(model, part)
    found = _model(model)
    return [] if found is None else [info.alias or name for name, info in found.model_fields.items()]


def _inside(shape: Any, part: str | int) -> Any:
    model = _model(shape)
    if model is not None:
        return next((info.annotation for name, info in model.model_fields.items() if part in {name, info.alias}), None)
    origin, arguments = get_origin(shape), get_args(shape)
    if origin is Annotated:
        return _inside(arguments[0], part)
    if origin in {list, tuple} and isinstance(part, int):
        return arguments[0]
    if origin is dict:
        return arguments[1]
    tagged = (one for one in arguments if any(tag.tag == part for tag in get_args(one) if isinstance(tag, Tag)))
    return next(tagged, None) or next((found for one in arguments if (found := _inside(one, part)) is not None), None)


def _model(shape: Any) -> type[BaseModel] | None:
    if isinstance(shape, type):
        return shape if issubclass(shape, BaseModel) else None
    origin, arguments = get_origin(shape), get_args(shape)
    if origin is Annotated:
        return _model(arguments[0])
    models = [one for one in arguments if one is not type(None)]
    return _model(models[0]) if origin not in {list, dict, tuple} and len(models) == 1 else None
