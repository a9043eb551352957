"""Answers as token paths, found in the place where they will stand.

Written bare in the task, an answer follows ``Answer:`` with a space and a chat header without one.
What its tokens are is only known there, so every wording is encoded behind the real tail.
"""

from dataclasses import dataclass

from promptrank.engine.contract import Slot
from promptrank.prompt.chat import Chat
from promptrank.prompt.fragments import Fragment
from promptrank.prompt.tokenizer import Ids, TextTokenizer
from promptrank.schema.parts import Question


@dataclass(frozen=True, slots=True)
class AnswerPaths:
    """The answers of one question behind one tail.

    Attributes:
        slot: the tail's own ids, leading tokens that all answers share, and the paths.
        turns: answer -> what follows the tail in a history turn: the chat header, the first
            wording, and what ends the turn.
        problems: ``questions.like: what; what to do``; with any, the slot cannot be used.
    """

    slot: Slot
    turns: dict[str, tuple[Fragment, ...]]
    problems: tuple[str, ...]


def wordings(question: Question) -> tuple[tuple[str, str], ...]:
    """(answer name, wording) pairs, in the order of `Slot.paths`."""
    return tuple((name, say) for name, a in question.answers.items() for say in a.say)


def resolve(
    tokenizer: TextTokenizer,
    name: str,
    question: Question,
    tail: Fragment,
    ids_before: Ids,
    chat: Chat | None,
) -> AnswerPaths:
    """Finds the token path of every wording behind a rendered block ``question``.

    ``tail`` is its last fragment, ``ids_before`` the ids of all of it.
    """
    pairs = wordings(question)
    lead = " " if chat is None else chat.answer_lead
    slot_ids = ids_before if chat is None else (*ids_before, *chat.to_assistant[1])
    problems = []
    answer_ids: list[Ids] = []
    for answer, say in pairs:
        ids = _behind(tokenizer, lead + say, tail, chat)
        where = f"questions.{name}.answers.{answer}"
        if ids is None:
            problems.append(
                f"{where}: {say!r} merges with {tail.text[-20:]!r} before it; end the block "
                "question with another character, such as a colon"
            )
        elif not ids:
            problems.append(f"{where}: {say!r} makes no tokens; say something else")
        answer_ids.append(ids or ())
    if not problems:
        problems = _collisions(f"questions.{name}", pairs, answer_ids)
    shared = _shared(answer_ids) if not problems else 0
    first = {answer: place for place, (answer, _) in reversed(list(enumerate(pairs)))}
    return AnswerPaths(
        Slot((*slot_ids, *answer_ids[0][:shared]), tuple(ids[shared:] for ids in answer_ids)),
        {a: _turn(tokenizer, chat, lead + pairs[p][1], answer_ids[p]) for a, p in first.items()},
        tuple(problems),
    )


def _turn(tokenizer: TextTokenizer, chat: Chat | None, text: str, ids: Ids) -> tuple[Fragment, ...]:
    answer = Fragment(text, ids)
    if chat is None:
        # Behind a text, since a line's end by itself may be encoded otherwise.
        return answer, Fragment("\n", tokenizer.encode("a\n")[len(tokenizer.encode("a")) :])
    return Fragment(*chat.to_assistant), answer, Fragment(*chat.to_user)


def _behind(tokenizer: TextTokenizer, text: str, tail: Fragment, chat: Chat | None) -> Ids | None:
    """Ids of a text behind a tail; None where the two merge."""
    if chat is None:
        joint, before = tokenizer.encode(tail.text + text), tail.ids
    else:
        start = chat.head[0] + "Answer:" + chat.to_assistant[0]
        joint, before = tokenizer.encode_wrapper(start + text), tokenizer.encode_wrapper(start)
    return joint[len(before) :] if joint[: len(before)] == before else None


def _collisions(where: str, pairs: tuple[tuple[str, str], ...], answer_ids: list[Ids]) -> list[str]:
    problems = []
    for place, ((answer, say), ids) in enumerate(zip(pairs, answer_ids, strict=True)):
        for (other, other_say), other_ids in zip(pairs[:place], answer_ids[:place], strict=True):
            if ids == other_ids:
                problems.append(
                    f"{where}: {other_say!r} ({other}) and {say!r} ({answer}) have the same "
                    "tokens; word one of them differently"
                )
            elif _starts(ids, other_ids) or _starts(other_ids, ids):
                short, long = sorted((other_say, say), key=len)
                problems.append(
                    f"{where}: the tokens of {short!r} are the beginning of those of {long!r}, so "
                    f"{short!r} could never be told apart; word one of them differently"
                )
    return problems


def _shared(paths: list[Ids]) -> int:
    """How many leading tokens all paths have in common; at least one token of each stays."""
    count = 0
    for tokens in zip(*paths, strict=False):
        if len(set(tokens)) > 1:
            break
        count += 1
    return min(count, min(map(len, paths)) - 1)


def _starts(ids: Ids, beginning: Ids) -> bool:
    return ids[: len(beginning)] == beginning
