"""The page Edit: a task's words on the left, and what they make of a request on the right."""

from starlette.requests import Request
from starlette.responses import Response

from promptrank.workbench.desk import Desk
from promptrank.workbench.doorway import Way
from promptrank.workbench.drawing import page


def ways(desk: Desk) -> list[Way]:
    """The paths of the page."""

    async def edit(request: Request) -> Response:
        task = desk.task(request.query_params.get("task"))
        return page(desk, request, "edit.html.jinja", task=task, saved=task.saved())

    return [Way("/edit", edit)]
