"""Words remembered one by one: the same ids as those of the whole text."""

from collections.abc import Callable
from functools import cache

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from promptrank.prompt import TextTokenizer
from promptrank.prompt import word_ids as words_module
from promptrank.prompt.word_ids import LONGEST, LONGEST_LINE, word_cut

# As the tokenizer.json files of Llama 3 and Qwen 2 have them.
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PRE_TOKENIZERS: dict[str, Callable[[], pre_tokenizers.PreTokenizer]] = {
    "gpt2": lambda: pre_tokenizers.ByteLevel(add_prefix_space=False),
    "smollm2": lambda: pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    ),
    "llama3": lambda: _split(LLAMA3),
    "qwen2": lambda: _split(QWEN2),
}
CORPUS = [
    "The river at night, it's 1984 and they'll dance!\n\nShare of viewers who liked it: 88%\n",
    "don't -- (a) item's   $3.50; WE'RE\there\r\n  `x` 12,345\n\tend ...\x1c\x0b?",
] * 3
TEXT = st.text(
    st.sampled_from([*"aBsrevtmld'TRE 018 \t\n\r\x0b\x0c\x1c\x00.,;:!?()-$%é中😀\u00a0"]),
    max_size=60,
)


@cache
def core_of(name: str) -> Tokenizer:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = PRE_TOKENIZERS[name]()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, min_frequency=1)
    )
    return core


def _split(pattern: str) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


@cache
def tokenizer_of(name: str) -> TextTokenizer:
    """One for all examples, so that most words are known by then."""
    return TextTokenizer(core_of(name))


@pytest.mark.long
@pytest.mark.parametrize("name", PRE_TOKENIZERS)
@given(texts=st.lists(TEXT, max_size=4))
@example(texts=["in 5", "in  5 \n x", "it's 'SO 'd", "'re\n\n\n", " \t 1234567 \r\n"])
@settings(max_examples=300, deadline=None)
def test_ids_are_those_of_the_whole_text(name: str, texts: list[str]) -> None:
    core = core_of(name)
    whole = [tuple(core.encode(text, add_special_tokens=False).ids) for text in texts]
    assert tokenizer_of(name).encode_batch(texts) == whole
    assert tokenizer_of(name).encode_batch(texts) == whole  # and when they are known


@pytest.mark.long
@pytest.mark.parametrize("name", PRE_TOKENIZERS)
@given(text=TEXT.map(lambda text: text.encode("ascii", "ignore").decode()))
@example(text="".join(map(chr, range(128))))
@settings(max_examples=200, deadline=None)
def test_words_are_those_of_the_tokenizer(name: str, text: str) -> None:
    core = core_of(name)
    cut = word_cut(core)
    assert cut is not None
    pieces = core.pre_tokenizer.pre_tokenize_str(text)
    assert cut(text) == [text[start:end] for _, (start, end) in pieces]


def test_only_new_words_are_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = TextTokenizer(core_of("smollm2"))
    tokenizer.encode("the river at night: 19\n")
    asked: list[list[str]] = []
    core = tokenizer._data

    class Watched:
        def encode_batch_fast(self, texts: list[str], **options: bool) -> object:
            asked.append(sorted(texts))
            return core.encode_batch_fast(texts, **options)

    assert tokenizer._words is not None
    monkeypatch.setattr(tokenizer._words, "_core", Watched())
    tokenizer.encode_batch(["at night the river: 91\n", "the dance at night\n"])
    assert asked == [[" dance", " the", "at"]]


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words_module, "MOST_WORDS", 10)
    core = core_of("gpt2")
    tokenizer = TextTokenizer(core)
    assert tokenizer._words is not None
    texts = [f"river{'a' * n} at{'b' * n} night" for n in range(30)] + ["x" * (LONGEST + 1)]
    assert [tokenizer.encode(text) for text in texts] == [tuple(core.encode(t).ids) for t in texts]
    assert len(tokenizer._words._ids) <= 10
    assert tokenizer.encode_batch(texts) == [tuple(core.encode(t).ids) for t in texts]
    many = "\n".join(f"river {n}" for n in range(100))  # lines of one text
    assert tokenizer.encode(many) == tuple(core.encode(many).ids)
    assert 0 < len(tokenizer._words._lines) <= 10


def test_long_lines_are_not_remembered() -> None:
    core = core_of("gpt2")
    tokenizer = TextTokenizer(core)
    assert tokenizer._words is not None
    for text in (line := "the river at night " * 5 + "river", f"{line}, and more\nthe river\n"):
        for _ in range(2):
            assert tokenizer.encode(text) == tuple(core.encode(text).ids)
    assert set(tokenizer._words._lines) == {line, "the river\n"}
    assert len(line) == LONGEST_LINE


def test_no_word_by_word_where_words_see_each_other() -> None:
    added = Tokenizer.from_str(core_of("gpt2").to_str())
    added.add_tokens([AddedToken("\n\n", normalized=False)])
    lower = Tokenizer.from_str(core_of("gpt2").to_str())
    lower.normalizer = normalizers.Lowercase()
    spaced = Tokenizer.from_str(core_of("gpt2").to_str())
    spaced.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    other = Tokenizer.from_str(core_of("gpt2").to_str())
    other.pre_tokenizer = _split(QWEN2.replace(r"\s*[\r\n]+", r"\s*[\r\n]"))
    for core in (added, lower, spaced, other):
        assert word_cut(core) is None
        tokenizer = TextTokenizer(core)
        assert tokenizer._words is None
        behind = core.encode("\nThe river\n\nat Night", add_special_tokens=False).ids
        ids = tokenizer.encode("The river\n\nat Night")
        assert ids == tuple(behind[-len(ids) :])
