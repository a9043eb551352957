"""``render``: the exact prompt of one candidate, from the very ids that are sent."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from promptrank.basics.telling import Say, silent
from promptrank.errors import DataError, ErrorRow
from promptrank.records import Request
from promptrank.requests.source import RequestFile
from promptrank.workspace.adapters import adapter_folders
from promptrank.workspace.encoders import open_encoder
from promptrank.workspace.request_files import request_file
from promptrank.workspace.tasks import OpenTask, open_task

if TYPE_CHECKING:
    from promptrank.prompt.encode import Encoder
    from promptrank.prompt.preview import Preview


@dataclass(frozen=True, slots=True)
class Rendered:
    """One candidate's prompt.

    Attributes:
        preview: the request's pieces; its ids are those an engine gets.
        place: index of the candidate among the preview's candidates.
    """

    preview: "Preview"
    place: int
    limit: int

    def as_text(self, *, ids: bool = False, only_text: bool = False) -> str:
        """The prompt for a person: pieces with their kind and token count, slots, cuts, errors."""
        candidate = self.preview.candidates[self.place]
        if only_text:
            pieces = [*self.preview.prefix, *candidate.pieces, *candidate.questions[0]]
            return "".join(piece.text for piece in pieces) + "\n"
        return "\n".join([*self._pieces(ids), "", *self._slots(ids), *self._facts()]) + "\n"

    def _pieces(self, ids: bool) -> Iterator[str]:
        encoded, candidate = self.preview.encoded, self.preview.candidates[self.place]
        yield f"request {encoded.request.request_id}, candidate {candidate.candidate_id}"
        behind = [("", candidate.pieces)]
        behind += [
            (f" {name}", pieces)
            for name, pieces in zip(encoded.questions, candidate.questions, strict=True)
        ]
        for suffix, pieces in [("", self.preview.prefix), *behind]:
            for piece in pieces:
                head = f"-- {piece.kind}{suffix}, {len(piece.ids)} tokens "
                yield head.ljust(72, "-")
                yield piece.text.removesuffix("\n")
                if ids:
                    yield f"   ids {' '.join(map(str, piece.ids))}"

    def _slots(self, ids: bool) -> Iterator[str]:
        encoded = self.preview.encoded
        assert encoded.tree is not None
        slots = encoded.tree.branches[self.place].slots
        for name, paths, slot in zip(encoded.questions, encoded.paths, slots, strict=True):
            yield f"slot {name}:"
            for (answer, wording), path in zip(paths, slot.paths, strict=True):
                tokens = f"{len(path)} token{'s' * (len(path) > 1)}"
                shown = f"  ids {' '.join(map(str, path))}" if ids else ""
                yield f"  {answer} <- {wording!r}, {tokens}{shown}"

    def _facts(self) -> Iterator[str]:
        encoded = self.preview.encoded
        assert encoded.tree is not None
        branch = encoded.tree.branches[self.place]
        slot = max(len(s.ids) + max(map(len, s.paths)) for s in branch.slots)
        total = len(encoded.tree.prefix) + len(branch.ids) + slot
        yield (
            f"{len(encoded.tree.prefix)} prefix tokens, {len(branch.ids)} candidate tokens, "
            f"{total} with the longest question and answer, of {self.limit}"
        )
        if encoded.cuts.any:
            cuts = encoded.cuts.as_dict().items()
            yield "cuts: " + ", ".join(f"{name} {value}" for name, value in cuts if value)
        for row in encoded.errors:
            yield f"set aside: {row.candidate_id or 'request'}: {row.message}"


def render(
    task: str | OpenTask,
    *,
    request: str | None = None,
    candidate: str | None = None,
    requests: str | Path | None = None,
    model: str | None = None,
    adapter: str | Path | None = None,
    project: str | Path | None = None,
    settings: list[str] | None = None,
    say: Say = silent,
) -> Rendered:
    """The prompt of one candidate of one request, made as ranking makes it; no weights are loaded.

    Args:
        request: id of the request; the first of the test part where left out.
        candidate: id of the candidate; the first where left out.
        adapter: changes no prompt; ``say`` is told what changed since it was trained.

    Raises:
        DataError: no such request or candidate, or it cannot be rendered (with the reason).
    """
    from promptrank.assets import resolve_model
    from promptrank.engine.limits import model_limits

    opened = open_task(task, project=project, settings=settings)
    name = model or opened.task.model
    folder = resolve_model(name, say=say)
    if adapter is not None:
        adapter_folders(opened, name, folder, allow_changed=True, say=say)(adapter)
    encoder = open_encoder(opened, folder, model_limits(folder).max_tokens)
    with request_file(opened, requests, splits=None, say=say) as file:
        chosen = _find(opened, file, request, test_first=requests is None)
    return render_request(encoder, chosen, candidate)


def render_request(encoder: "Encoder", request: Request, candidate: str | None = None) -> Rendered:
    """The prompt of one candidate of a request at hand.

    Raises:
        DataError: no such candidate, or it cannot be rendered.
    """
    preview = encoder.preview(request)
    names = [c.candidate_id for c in preview.candidates]
    reasons = "; ".join(row.message for row in preview.encoded.errors)
    if preview.encoded.tree is None or not names:
        raise DataError(f"request {request.request_id} cannot be rendered: {reasons}")
    if candidate is not None and candidate not in names:
        known = [c.candidate_id for c in request.candidates]
        why = reasons if candidate in known else f"its candidates: {', '.join(known[:10])}"
        raise DataError(f"request {request.request_id} has no candidate {candidate!r}: {why}")
    place = names.index(candidate) if candidate is not None else 0
    return Rendered(preview, place, encoder.limit)


def _find(opened: OpenTask, file: RequestFile, name: str | None, *, test_first: bool) -> Request:
    unread: list[ErrorRow] = []
    splits = {"test"} if name is None and test_first and opened.task.split is not None else None
    for request in file.read(splits, errors=unread.append):
        if name is None or request.request_id == name:
            return request
    if name is None:
        raise DataError(f"{file.path.name} holds no request")
    reasons = "; ".join(row.message for row in unread if row.request_id == name)
    raise DataError(
        f"no request {name!r} in {file.path.name}: {reasons or 'ids are in its column request_id'}"
    )
