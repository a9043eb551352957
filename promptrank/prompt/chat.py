"""A chat model's wrapper as fragments, cut out of its own chat template.

The template is rendered once around marks; what stands before, between and after them is the
wrapper. Whatever the template adds by itself (a default system message, a date) is thereby pinned:
dates come from a fixed day, thinking is switched off, and the fragments go into the fingerprint.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from promptrank.errors import ModelError
from promptrank.prompt.chat_sandbox import render_chat

Ids = tuple[int, ...]

PINNED_DAY = datetime(2025, 1, 1)
"""What a template that writes today's date is told, so that prompts are the same every day."""

_MARKS = ("MARKONE", "MARKTWO", "MARKTHREE")
_PROBE = ("You rank.\nTitle: A\nAnswer:", "Yes", "Title: B\nAnswer:")


@dataclass(frozen=True)
class Chat:
    """The wrapper's four fragments: text and ids of each.

    Attributes:
        head: before the first user text; holds BOS where the template writes one.
        to_assistant: from the user's text to the assistant's answer, as for generation and with
            thinking off; the same in history turns, so that all answers are given alike.
        to_user: from an answer to the next user text.
        end: after the last answer.
        answer_lead: ``" "`` where the template puts a space before answers, else ``""``.
        notes: how the joined fragments differ from the template's own joint encoding, if they do.
    """

    head: tuple[str, Ids]
    to_assistant: tuple[str, Ids]
    to_user: tuple[str, Ids]
    end: tuple[str, Ids]
    answer_lead: str
    notes: tuple[str, ...]


def split_chat(
    tokenizer: Any, encode: Callable[[str], Ids], encode_text: Callable[[str], Ids]
) -> Chat:
    """Cuts the chat template of a transformers tokenizer apart.

    ``encode`` knows control tokens, ``encode_text`` encodes a user's text.
    """
    whole = _render(tokenizer, _MARKS, generate=False)
    asked = _render(tokenizer, _MARKS[:1], generate=True)
    head, to_assistant = _cut(asked, _MARKS[:1])
    again, between, to_user, _ = _cut(whole, _MARKS)
    if again != head:
        raise ModelError("the chat template's beginning depends on what follows; set chat: false")
    end = _cut(_render(tokenizer, _MARKS[:2], generate=False), _MARKS[:2])[2]
    lead = between[len(between.rstrip(" ")) :]
    notes = []
    if between.rstrip(" ") != to_assistant.rstrip(" "):
        notes.append(
            "chat: history turns use the header for generation (thinking off), as candidates do"
        )
    lead = lead if not to_assistant.endswith(" ") else ""
    texts = (head, to_assistant, to_user, end)
    ids = tuple(encode(t) if t else () for t in texts)
    joint = encode(head + _PROBE[0] + to_assistant + lead + _PROBE[1] + to_user + _PROBE[2])
    apart = (*ids[0], *encode_text(_PROBE[0]), *ids[1], *encode(lead + _PROBE[1]))
    apart = (*apart, *ids[2], *encode_text(_PROBE[2]))
    if joint != apart:
        notes.append("chat: fragments joined differ from the chat template's joint encoding")
    pairs = [*zip(texts, ids, strict=True)]
    return Chat(pairs[0], pairs[1], pairs[2], pairs[3], lead, tuple(notes))


def written_out(head: str, answer: str, encode: Callable[[str], Ids]) -> Chat:
    """A wrapper that a task writes out: one text, one answer, no turns.

    Its pieces are tokenized apart from the text between them, as publishers of such formats do.

    Args:
        encode: knows control tokens.
    """
    return Chat(
        (head, encode(head) if head else ()), (answer, encode(answer)), ("", ()), ("", ()), "", ()
    )


def _render(tokenizer: Any, texts: tuple[str, ...], generate: bool) -> str:
    roles = ("user", "assistant", "user")
    messages = [{"role": r, "content": t} for r, t in zip(roles, texts, strict=False)]
    # What transformers' `apply_chat_template` hands over, ours behind the special tokens.
    values = {
        "messages": messages,
        "tools": None,
        "documents": None,
        "add_generation_prompt": generate,
        **tokenizer.special_tokens_map,
        "enable_thinking": False,
        "thinking": False,
    }
    try:
        return render_chat(tokenizer.get_chat_template(), values, PINNED_DAY)
    except Exception as error:  # whatever a program may raise
        reason = str(error) or type(error).__name__
        raise ModelError(f"the chat template fails: {reason}; set chat: false") from None


def _cut(text: str, marks: tuple[str, ...]) -> list[str]:
    parts = []
    for mark in marks:
        before, separator, text = text.partition(mark)
        if not separator or mark in text:
            raise ModelError(
                "the chat template does not write each message once and in order; set chat: false"
            )
        parts.append(before)
    return [*parts, text]
