"""A task's item table, for request files that bring no items of their own, and what tells it."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from promptrank.errors import InputError
from promptrank.places.table_files import is_elsewhere
from promptrank.requests.items import ItemTable
from promptrank.workspace.tasks import OpenTask, data_folder

Stamp = list[tuple[str, int, int]] | str | None
"""What tells one state of an item table from another: its files, or a digest of its rows."""


class OwnItemTable:
    """The item table that a task names."""

    def __init__(self, opened: OpenTask) -> None:
        self._task, self._opened = opened.task, opened
        self._kept: ExitStack | None = None
        self._table: ItemTable | None = None

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Inside, the table is read once however often it is opened: all see the same rows."""
        with ExitStack() as stack:
            self._kept = stack
            try:
                yield
            finally:
                self._kept = self._table = None

    @contextmanager
    def opened(self) -> Iterator[ItemTable]:
        """The table, over a snapshot that goes away with this context or with that of `kept`."""
        from promptrank.tables.own_items import task_items

        if self._kept is None:
            with task_items(self._task, data_folder(self._opened)) as table:
                yield table
            return
        if self._table is None:
            reading = task_items(self._task, data_folder(self._opened))
            self._table = self._kept.enter_context(reading)
        yield self._table

    def stamp(self) -> Stamp:
        """Name, size and change time of its files; of a query or a URL, the digest of its rows.

        A request file may bring items of its own and never need the table: one that cannot be read
        has a stamp too.
        """
        table = self._task.tables[self._task.item_table or ""]
        names = [table.path] if isinstance(table.path, str) else table.path or []
        if table.sql is None and not any("://" in name for name in names):
            root = data_folder(self._opened)
            if not any(is_elsewhere(name, root) for name in names):
                paths = sorted(p for n in names for p in _files(root, n))
                return [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in paths]
        try:
            with self.opened() as items:
                return items.digest
        except InputError:
            return "not readable"


def _files(root: Path, name: str) -> Iterator[Path]:
    path = Path(name)
    if path.is_absolute():
        yield from Path(path.anchor).glob(str(path.relative_to(path.anchor)))
    else:
        yield from root.glob(name)
