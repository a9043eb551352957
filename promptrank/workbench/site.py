"""All paths of the workbench, as routes of the server."""

from promptrank.serve.page_route import PageRoute
from promptrank.workbench import edit, label, sample_pages, shell, version_pages
from promptrank.workbench.desk import Desk
from promptrank.workbench.doorway import guarded
from promptrank.workbench.kept_runs import Kept

NAVIGATION = (
    ("Edit", "/edit"),
    ("Sample", "/sample"),
    ("Versions", "/versions"),
    ("Label", "/label"),
)


def pages(desk: Desk) -> list[PageRoute]:
    """The routes; the desk is told which pages there are to go to."""
    kept = Kept(desk)
    ways = [*shell.ways(desk), *edit.ways(desk)]
    ways += [*sample_pages.ways(desk, kept), *version_pages.ways(desk, kept)]
    ways += label.ways(desk, kept.last_scores)
    paths = {way.path for way in ways}
    desk.navigation = [(title, path) for title, path in NAVIGATION if path in paths]
    return [guarded(desk, way) for way in ways]
