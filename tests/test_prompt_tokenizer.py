"""Text to ids: no seam between fragments, no control tokens out of data, BOS once."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptrank.errors import ModelError
from promptrank.prompt import TextTokenizer, open_tokenizer
from promptrank.prompt.fragments import Recent
from promptrank.prompt.tokenizer import clean
from support.prompts import (
    byte_bpe,
    encoder_of,
    event_of,
    item_of,
    one_byte_one_token,
    prompt_text,
    request_of,
    sentencepiece,
    unigram_with_bos,
)

Make = Callable[[], TextTokenizer]
ANY_SCRIPT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="▁"), max_size=60)
MAKERS = [byte_bpe, sentencepiece, one_byte_one_token]


@pytest.mark.parametrize("make", MAKERS)
@given(texts=st.lists(ANY_SCRIPT, min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_fragments_decode_to_their_text(make: Make, texts: list[str]) -> None:
    tokenizer = make()
    fragments = [t.strip() + "\n" for t in texts if t.strip()]
    ids = [i for part in tokenizer.encode_batch(fragments) for i in part]
    assert tokenizer.decode(ids) == "".join(fragments)


@pytest.mark.parametrize("make", MAKERS)
@given(first=st.text("ab :.,7é", max_size=20), second=st.text("ab :.,7é", max_size=20))
@settings(max_examples=60, deadline=None)
def test_plain_fragments_join_as_one_text(make: Make, first: str, second: str) -> None:
    tokenizer = make()
    first, second = first.strip() + "\n", second.strip()
    if len(first) > 1 and second:
        joint = tokenizer.encode(first + second)
        assert joint == tokenizer.encode(first) + tokenizer.encode(second)


@pytest.mark.parametrize("make", [byte_bpe, sentencepiece, unigram_with_bos])
def test_control_tokens_in_data_stay_text(make: Make) -> None:
    tokenizer = make()
    control = {
        i: t.content
        for i, t in tokenizer.full.get_added_tokens_decoder().items()
        if t.content != "<unk>"
    }
    text = "a" + "b".join(control.values()) + " <think></think> end"
    ids = tokenizer.encode(text)
    assert not set(ids) & set(control)
    assert tokenizer.encode_wrapper(text) != ids
    if tokenizer is not unigram_with_bos():
        assert tokenizer.decode(ids) == text


def test_added_tokens_that_are_not_special_stay_text_too() -> None:
    from promptrank.prompt import from_transformers
    from support.models import byte_level_tokenizer

    core = byte_level_tokenizer()
    core.add_tokens(["<think>", "  \n"])
    tokenizer = from_transformers(core)
    think, blank = (core.convert_tokens_to_ids(text) for text in ("<think>", "  \n"))
    assert think not in tokenizer.encode("a <think> b")
    assert think in tokenizer.encode_wrapper("a <think> b")
    assert blank in tokenizer.encode("a  \nb"), "white space tokens were trained with, and stay"
    hidden = f"a \ue000{think}\ue001 b"
    assert think not in tokenizer.encode(hidden), "nor by the text that stands in for it"
    assert tokenizer.decode(tokenizer.encode(hidden)) == hidden


def test_control_tokens_that_merges_spell() -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {c: i for i, c in enumerate(alphabet)} | {"<s": 300, "<s>": 301}
    core = Tokenizer(models.BPE(vocab=vocab, merges=[("<", "s"), ("<s", ">")]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken("<s>")])
    tokenizer = TextTokenizer(core)
    text = "x<s>y<<s>>"
    assert 301 in tokenizer.encode_wrapper(text)
    assert 301 not in tokenizer.encode(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("make", MAKERS)
def test_hostile_text_in_bounded_time(make: Make, tmp_path: Path) -> None:
    encoder = encoder_of(tmp_path, tokenizer=make(), history=None, max_tokens=10**6,
                         budget={"candidate": 400_000})  # fmt: skip
    for text in ("a" * 100_000, "漢字" * 50_000, "word " * 20_000, "\x00\ufeff🏳️‍🌈 " * 9_000):
        shown = prompt_text(encoder, request_of({"c": item_of(text)}))
        assert shown == f"Rank.\nAbout me\n{text.strip()}\nAnswer:"


def test_unpaired_surrogates_are_replaced(tmp_path: Path) -> None:
    assert clean("a\ud800b") == "a\ufffdb"
    assert clean("\ud83d\ude00") == "😀", "a pair that was torn apart is put together"
    shown = prompt_text(encoder_of(tmp_path), request_of({"c": item_of("a\udfffb")}))
    assert "a\ufffdb" in shown


def test_bos_once(tmp_path: Path) -> None:
    tokenizer = unigram_with_bos()
    assert tokenizer.bos == (1,)
    tree = encoder_of(tmp_path, tokenizer=tokenizer).encode(request_of()).tree
    assert tree is not None
    whole = [*tree.prefix, *tree.branches[0].ids, *tree.branches[0].slots[0].ids]
    assert whole[0] == 1
    assert not {1, 2} & set(whole[1:]), "neither BOS nor EOS again"
    assert byte_bpe().bos == ()


def test_shared_counts_bos_and_instruction(tmp_path: Path) -> None:
    encoder = encoder_of(tmp_path, tokenizer=unigram_with_bos())
    tree = encoder.encode(request_of()).tree
    assert tree is not None
    assert tree.shared == 1 + len(unigram_with_bos().encode("Rank.\n"))
    depends = "{% block instruction %}Rank for {{ member.bio }}.{% endblock %}"
    depends += "{% block candidate %}x{% endblock %}{% block question %}A:{% endblock %}"
    tree = encoder_of(tmp_path, depends, history=None).encode(request_of()).tree
    assert tree is not None
    assert tree.shared == 0


def test_no_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no tokenizer"):
        open_tokenizer(tmp_path)


def test_open_tokenizer_of_a_folder(tiny_llama_path: Path) -> None:
    tokenizer = open_tokenizer(tiny_llama_path)
    assert tokenizer.decode(tokenizer.encode("Toy Story")) == "Toy Story"
    assert tokenizer.fingerprint == open_tokenizer(tiny_llama_path).fingerprint
    assert tokenizer.chat.head[0].startswith("<|im_start|>system")


@pytest.mark.parametrize("make", MAKERS)
def test_memory_changes_nothing(make: Make, tmp_path: Path) -> None:
    items = {f"c{i}": item_of(f"Title {i % 3}", key=("s", i % 3)) for i in range(6)}
    history = tuple(event_of(f"Old {i % 2}", time=float(i)) for i in range(4))
    requests = [request_of(items, history[i:]) for i in range(4)] * 3
    kept = encoder_of(tmp_path, tokenizer=make())
    trees = [e.tree for e in kept.encode_many(requests)]
    for limit in (0, 60):
        none = encoder_of(tmp_path, tokenizer=make(), cache_tokens=limit)
        assert [none.encode(r).tree for r in requests] == trees
    assert trees[0] != trees[1]


def test_items_with_one_key_are_rendered_once(tmp_path: Path) -> None:
    encoder = encoder_of(tmp_path)
    first = encoder.encode(request_of({"c": item_of("Heat", key=1)})).tree
    # The key vouches for the fields: these are not looked at.
    again = encoder.encode(request_of({"c": item_of("Other", key=1)})).tree
    assert first == again
    assert encoder.encode(request_of({"c": item_of("Other", key=2)})).tree != first


def test_recent_forgets_within_its_bound() -> None:
    recent: Recent[int] = Recent(10, lambda size: size)
    for place in range(100):
        recent.put(place, 1)
        recent.get(0)
    kept = [p for p in range(100) if recent.get(p) is not None]
    assert 0 in kept, "what is used again stays"
    assert len(kept) <= 10
    assert kept[-1] == 99
