"""What example requests say, for reports that may hold texts: as the prompt words it."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from promptrank.evaluation.example_requests import ExampleRequest, PromptPiece, with_texts
from promptrank.records import Request
from promptrank.requests.texts import text_of
from promptrank.workspace.catalogue import printed_item_fields
from promptrank.workspace.tasks import OpenTask

if TYPE_CHECKING:
    from promptrank.prompt.encode import Encoder


def told_examples(
    opened: OpenTask,
    examples: tuple[ExampleRequest, ...],
    requests: Iterable[Request],
    encoder: "Encoder | None",
) -> tuple[ExampleRequest, ...]:
    """Examples with texts: with an encoder those of the prompt itself, made as `render` makes them.

    Args:
        encoder: None for what reads fields, such as a student: then a candidate's text is that of
            the item fields which the template prints, and there is no prompt.
    """
    names = printed_item_fields(opened)

    def tell(
        request: Request, candidate_id: str
    ) -> tuple[Mapping[str, str], tuple[PromptPiece, ...]]:
        texts = {}
        for candidate in request.candidates:
            fields = candidate.item.fields
            texts[candidate.candidate_id] = text_of(
                fields, None if names is None else [name for name in fields if name in names]
            )
        if encoder is None:
            return texts, ()
        preview = encoder.preview(request)
        prompt: tuple[PromptPiece, ...] = ()
        for each in preview.candidates:
            texts[each.candidate_id] = "".join(piece.text for piece in each.pieces)
            if each.candidate_id == candidate_id:
                pieces = (*preview.prefix, *each.pieces, *each.questions[0])
                prompt = tuple(PromptPiece(piece.kind, piece.text) for piece in pieces)
        return texts, prompt

    return with_texts(examples, requests, tell)
