"""Labels as rows for other trainers: one a candidate and question, as text, messages and ids.

The text is that of `render`, the ids are those that are ranked and trained on, so nothing has to be
tokenized again. A label's completion is the first wording of its answer.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from promptrank.basics.telling import Progress
from promptrank.errors import DataError
from promptrank.prompt import Encoder
from promptrank.prompt.chat import Chat
from promptrank.prompt.preview import CandidatePreview, Piece, Preview
from promptrank.requests.source import RequestFile
from promptrank.training.choosing import Choice
from promptrank.training.examples import Maker, example_of, makers_of
from promptrank.training.label_shares import Share

_GROUP = 64  # requests of a row group
SCHEMA = pa.schema(
    [
        ("prompt", pa.string()),
        ("completion", pa.string()),
        ("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
        ("prompt_ids", pa.list_(pa.int32())),
        ("completion_ids", pa.list_(pa.int32())),
        ("request_id", pa.string()),
        ("candidate_id", pa.string()),
        ("question", pa.string()),
        ("answer", pa.string()),
        ("value", pa.float64()),
        ("weight", pa.float64()),
        ("split", pa.string()),
    ]
)


def write_rows(
    path: Path,
    name: str,
    encoder: Encoder,
    choice: Choice,
    file: RequestFile,
    lose: Callable[[str], None],
    progress: Progress,
) -> int:
    """Write the labels of a part as parquet; how many there are.

    Args:
        name: of the task, for messages.
        lose: is told the reason of each row that cannot be encoded.

    Raises:
        DataError: there are none.
    """
    makers = makers_of(encoder.task)
    count = done = 0
    requests = choice.read(file)
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        while some := list(islice(requests, _GROUP)):
            rows: list[dict[str, Any]] = []
            for request in some:
                preview = encoder.preview(request)
                for row in preview.encoded.errors:
                    lose(row.reason)
                rows += label_rows(encoder, preview, choice.shares[request.request_id], makers)
            writer.write_table(pa.Table.from_pylist(rows, schema=SCHEMA))
            count, done = count + len(rows), done + len(some)
            progress(done, len(choice.shares))
    if not count:
        raise DataError(
            f"{name}: no label in the part {choice.part} that can be written "
            f"({choice.requests:,} requests); see label, answers and split"
        )
    return count


def label_rows(
    encoder: Encoder, preview: Preview, share: Share, makers: Mapping[str, Maker]
) -> Iterator[dict[str, Any]]:
    """The rows of one request; none where it has no label.

    Args:
        preview: of the request, by the same encoder.
        share: which of its labels count.
    """
    encoded = preview.encoded
    if encoded.tree is None:
        return
    example = example_of(encoded, share, makers)
    if example is None:
        return
    shown = {candidate.candidate_id: candidate for candidate in preview.candidates}
    for name, (branch, targets) in zip(example.candidate_ids, example.branches, strict=True):
        for place, (question, target) in enumerate(zip(makers, targets, strict=True)):
            if target is None:
                continue
            slot, number = branch.slots[place], target.shares.index(1.0)
            path = slot.paths[target.paths[number][0]]
            pieces = _pieces(preview, shown[name], place)
            completion = encoder.path_text(slot, path)
            yield {
                "prompt": "".join(piece.text for piece in pieces),
                "completion": completion,
                "messages": messages(pieces, completion, encoder.chat),
                "prompt_ids": [*example.prefix, *branch.ids, *slot.ids],
                "completion_ids": path,
                "request_id": example.request_id,
                "candidate_id": name,
                "question": question,
                "answer": list(encoder.task.questions[question].answers)[number],
                "value": target.value,
                "weight": target.weight,
                "split": encoded.request.split,
            }


def messages(pieces: Sequence[Piece], completion: str, chat: Chat | None) -> list[dict[str, str]]:
    """A prompt and its completion as a conversation that ends with the assistant's answer.

    With a chat template it is the one that the template turns into the prompt again: each turn of
    the history is a message of the user and one of the assistant. Without one the whole prompt is
    the user's. What the template or the tokenizer puts before everything is left out.
    """
    turns, lead = [""], ""
    for piece in pieces:
        switches = chat is not None and (piece.text, piece.ids) in (chat.to_assistant, chat.to_user)
        if switches:
            turns.append("")
        elif piece.kind == "answer":
            lead += piece.text
        elif piece.kind != "start":
            turns[-1] += piece.text
    if len(turns) % 2:  # no chat template: nothing has switched to the assistant
        turns.append("")
    turns[-1] += lead + completion
    space = " " if chat is None else chat.answer_lead
    return [
        {"role": "assistant", "content": text.removeprefix(space)}
        if number % 2
        else {"role": "user", "content": text}
        for number, text in enumerate(turns)
    ]


def _pieces(preview: Preview, candidate: CandidatePreview, question: int) -> list[Piece]:
    return list(chain(preview.prefix, candidate.pieces, candidate.questions[question]))
