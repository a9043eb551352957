"""A journal of finished rankings, so that a run that was killed goes on where it stopped.

Lines of JSON beside the output: first what the run is (a digest over everything that can change a
score), then one line per finished request. A run of the same digest skips the requests found there;
another digest starts over. A torn last line, as a kill leaves it, is dropped.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

Row = dict[str, Any]


class Journal:
    """Rows and errors per finished request, appended to ``<output>.partial``.

    Attributes:
        done: ids of the requests it holds.
        others: whether it holds rows that belong to no request (under an empty id).
        replaced: whether a journal of another run was there.
    """

    def __init__(self, output: Path, digest: str) -> None:
        self.path = output.with_name(output.name + ".partial")
        self.done: set[str] = set()
        self.others = False
        end = 0
        there = self.path.is_file()
        if there and self._digest() == digest:
            for entry, stop in self._entries():
                end = stop
                if "request_id" in entry:
                    self._note(entry["request_id"])
        self.replaced = there and not end
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if end:
            os.truncate(self.path, end)
            self._file = self.path.open("ab")
        else:
            self._file = self.path.open("wb")
            self._write({"digest": digest})

    def add(self, request_id: str, rows: list[Row], errors: list[Row]) -> None:
        """Record one finished request."""
        self._write({"request_id": request_id, "rows": rows, "errors": errors})
        self._note(request_id)

    def entries(self) -> Iterator[dict[str, Any]]:
        """Every finished request with its ``rows`` and ``errors``, in the order they finished."""
        self._file.flush()
        for entry, _ in self._entries():
            if "request_id" in entry:
                yield entry

    def finish(self) -> None:
        """Remove the journal: its output is complete."""
        self._file.close()
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def _write(self, entry: dict[str, Any]) -> None:
        line = json.dumps(entry, ensure_ascii=False, separators=(",", ":"))
        self._file.write(line.encode("utf-8", "surrogatepass") + b"\n")
        self._file.flush()

    def _note(self, request_id: str) -> None:
        if request_id:
            self.done.add(request_id)
        else:
            self.others = True

    def _digest(self) -> str | None:
        first = next(self._entries(), None)
        return first[0].get("digest") if first is not None else None

    def _entries(self) -> Iterator[tuple[dict[str, Any], int]]:
        end = 0
        with self.path.open("rb") as lines:
            for line in lines:
                try:
                    entry = json.loads(line) if line.endswith(b"\n") else None
                except ValueError:
                    entry = None
                if not isinstance(entry, dict):
                    return
                end += len(line)
                yield entry, end
