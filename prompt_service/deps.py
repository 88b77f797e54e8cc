"""What the lifespan opened, for the handlers."""

from typing import Annotated, cast

from fastapi import Depends, Query, Request

from prompt_service.resources import Resources
from studio.contracts.base import Name


def get_resources(request: Request) -> Resources:
    return cast("Resources", request.app.state.resources)


ResourcesDep = Annotated[Resources, Depends(get_resources)]
ProjectId = Annotated[Name, Query(description="The project in which a name is looked up")]
ProjectFilter = Annotated[Name | None, Query(alias="project_id", description="Only this project's")]
