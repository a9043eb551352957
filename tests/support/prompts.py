"""Templates, tasks, requests and tokenizers for the prompt tests, all built in memory."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    pre_tokenizers,
    processors,
)

from promptrank.prompt import Encoder, Template, TextTokenizer, from_transformers, load_template
from promptrank.records import Candidate, Event, Item, Request, Subject
from promptrank.schema.task import Task
from support.models import byte_level_tokenizer, sentencepiece_tokenizer

SHIPPED = Path(__file__).parents[2] / "templates"

PLAIN = """\
{% block instruction %}Rank.{% endblock %}
{% block subject %}{% if member %}About {{ member.bio }}{% endif %}{% endblock %}
{% block event %}{{ event.action }} {{ item.title }}{% endblock %}
{% block candidate %}{{ item.title }}{% endblock %}
{% block question %}Answer:{% endblock %}
"""


@cache
def byte_bpe() -> TextTokenizer:
    """Byte-level BPE with ChatML, as SmolLM2's."""
    return from_transformers(byte_level_tokenizer())


@cache
def sentencepiece() -> TextTokenizer:
    """BPE with a dummy prefix space, as Llama-2's."""
    return from_transformers(sentencepiece_tokenizer())


@cache
def one_byte_one_token() -> TextTokenizer:
    """No merges: a text has as many tokens as bytes, so that budgets can be worked by hand."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    return TextTokenizer(core)


@cache
def unigram_with_bos() -> TextTokenizer:
    """Unigram with a metaspace and BOS; its control tokens are plain entries of it too."""
    letters = "▁ abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:.,'!?()<>/|_\n"
    pieces = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), ("<|im_end|>", 0.0)]
    pieces += [("▁Yes", -3.0), ("▁No", -3.0), ("▁the", -2.0), ("ank", -4.0)]
    pieces += [(c, -10.0) for c in dict.fromkeys(letters)]
    core = Tokenizer(models.Unigram(pieces, unk_id=0))
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\n"), "isolated"),
            pre_tokenizers.Metaspace(prepend_scheme="first"),
        ]
    )
    core.decoder = decoders.Metaspace(prepend_scheme="first")
    core.add_special_tokens([AddedToken(t) for t in ("<s>", "</s>", "<|im_end|>")])
    core.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return TextTokenizer(core)


def template_of(folder: Path, text: str = PLAIN, **others: str) -> Template:
    """A template written into a folder, with other files beside it (``base="..."``)."""
    for name, source in {"t": text, **others}.items():
        (folder / f"{name}.j2").write_text(source, encoding="utf-8")
    return load_template("t.j2", [folder])


def task_of(**changes: Any) -> Task:
    """A binary task on a ratings table, with changes to its file."""
    values: dict[str, Any] = {
        "domain": "test",
        "template": "t.j2",
        "tables": {"items": {"path": "i.csv", "key": "item_id"}},
        "ratings": {
            "path": "r.csv",
            "member": "member_id",
            "item": "items",
            "time": "at",
            "label": "label",
        },
        "history": {"last": 10},
        "questions": {"like": binary()},
    }
    values.update(changes)
    return Task.model_validate({k: v for k, v in values.items() if v is not None})


def binary(yes: str = "Yes", no: str = "No") -> dict[str, Any]:
    """A question with two answers."""
    return {"answers": {"like": {"say": [yes], "value": 1}, "dislike": {"say": [no], "value": 0}}}


def item_of(title: Any, key: Any = None, **fields: Any) -> Item:
    """An item with a title; without a key nothing is remembered by it."""
    return Item(str(title)[:20], {"title": title, **fields}, key)


def event_of(title: Any, action: str = "like", time: float = 0.0, **fields: Any) -> Event:
    """An event whose action answers the question ``like``."""
    return Event(item_of(title, **fields), action, time, outcomes={"like": action})


def request_of(
    candidates: Mapping[str, Item] | None = None,
    history: tuple[Event, ...] = (),
    member: Mapping[str, Any] | None = None,
    **contexts: Mapping[str, Any],
) -> Request:
    """A request for one member at time 1000."""
    given = candidates if candidates is not None else {"c1": item_of("Heat")}
    member = {"bio": "me"} if member is None else member
    return Request(
        "r1",
        Subject(member_id="m1", member=member),
        tuple(Candidate(k, item, contexts.get(k, {})) for k, item in given.items()),
        history,
        1000.0,
    )


def encoder_of(
    folder: Path,
    text: str = PLAIN,
    tokenizer: TextTokenizer | None = None,
    *,
    max_tokens: int = 4096,
    cache_tokens: int = 4_000_000,
    **changes: Any,
) -> Encoder:
    """An encoder over a template text and changes to the task file."""
    return Encoder(
        task_of(**changes),
        template_of(folder, text),
        tokenizer or byte_bpe(),
        max_tokens=max_tokens,
        cache_tokens=cache_tokens,
    )


def prompt_text(encoder: Encoder, request: Request, candidate: int = 0, question: int = 0) -> str:
    """The text that the template makes of one candidate, without BOS and shared answer tokens."""
    preview = encoder.preview(request)
    shown = preview.candidates[candidate]
    pieces = (*preview.prefix, *shown.pieces, *shown.questions[question])
    return "".join(p.text for p in pieces if p.kind not in ("start", "answer"))
