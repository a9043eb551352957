"""Answers as token paths behind their real tail."""

from pathlib import Path
from typing import Any

import pytest

from promptrank.errors import TemplateError
from support.prompts import (
    PLAIN,
    binary,
    byte_bpe,
    encoder_of,
    one_byte_one_token,
    request_of,
    sentencepiece,
)


def slot_of(folder: Path, **changes: Any) -> Any:
    tree = encoder_of(folder, **changes).encode(request_of()).tree
    assert tree is not None
    return tree.branches[0].slots[0]


@pytest.mark.parametrize("make", [byte_bpe, sentencepiece])
def test_tail_and_path_decode_to_the_whole(make: Any, tmp_path: Path) -> None:
    tokenizer = make()
    encoder = encoder_of(tmp_path, tokenizer=tokenizer, chat=None)
    tree = encoder.encode(request_of()).tree
    assert tree is not None
    slot = tree.branches[0].slots[0]
    words = [tokenizer.decode([*slot.ids, *path]) for path in slot.paths]
    assert words == ["Answer: Yes", "Answer: No"]
    joint = [tokenizer.encode(f"Answer: {w}") for w in ("Yes", "No")]
    assert [(*slot.ids, *path) for path in slot.paths] == joint


def test_shared_leading_tokens_move_into_the_tail(tmp_path: Path) -> None:
    """Each character is a token: " 4" and " 5" share the space, "ten" and "two" the t."""
    slot = slot_of(
        tmp_path,
        tokenizer=one_byte_one_token(),
        questions={"q": binary("two", "ten")},
    )
    decode = one_byte_one_token().decode
    assert decode(slot.ids) == "Answer: t"
    assert [decode(p) for p in slot.paths] == ["wo", "en"]


def test_several_wordings_keep_their_order(tmp_path: Path) -> None:
    question = binary()
    question["answers"]["like"]["say"] = ["Yes", "yes"]
    encoder = encoder_of(tmp_path, questions={"q": question})
    encoded = encoder.encode(request_of())
    assert encoded.paths == ((("like", "Yes"), ("like", "yes"), ("dislike", "No")),)
    assert encoded.tree is not None
    slot = encoded.tree.branches[0].slots[0]
    joint = [byte_bpe().encode(f"Answer: {w}") for w in ("Yes", "yes", "No")]
    assert [(*slot.ids, *path) for path in slot.paths] == joint


def test_one_answer_the_beginning_of_another(tmp_path: Path) -> None:
    encoder = encoder_of(
        tmp_path, tokenizer=one_byte_one_token(), questions={"q": binary("no", "not")}
    )
    assert len(encoder.problems) == 1
    assert encoder.problems[0].startswith("questions.q:")
    assert "beginning" in encoder.problems[0]
    with pytest.raises(TemplateError, match="beginning"):
        encoder.encode(request_of())


def test_answers_with_the_same_tokens(tmp_path: Path) -> None:
    """A lower-casing tokenizer cannot tell Yes from yes."""
    from tokenizers import Tokenizer, normalizers

    from promptrank.prompt import TextTokenizer

    core = Tokenizer.from_str(one_byte_one_token().full.to_str())
    core.normalizer = normalizers.Lowercase()
    encoder = encoder_of(tmp_path, tokenizer=TextTokenizer(core),
                         questions={"q": binary("Yes", "yes")})  # fmt: skip
    assert "same tokens" in encoder.problems[0]
    assert "word one of them differently" in encoder.problems[0]


def test_an_answer_that_merges_with_the_tail(tmp_path: Path) -> None:
    """A tokenizer with the token "- " merges the answer's space into a tail that ends in -."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    from promptrank.prompt import TextTokenizer

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {c: i for i, c in enumerate([*alphabet, "-Ġ"])}
    core = Tokenizer(models.BPE(vocab=vocab, merges=[("-", "Ġ")]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    text = PLAIN.replace("Answer:", "Answer -")
    encoder = encoder_of(tmp_path, text, TextTokenizer(core))
    assert len(encoder.problems) == 2
    assert "questions.like.answers.like" in encoder.problems[0]
    assert "merges with 'Answer -'" in encoder.problems[0]


def test_an_answer_without_tokens(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, normalizers

    from promptrank.prompt import TextTokenizer

    core = Tokenizer.from_str(one_byte_one_token().full.to_str())
    core.normalizer = normalizers.Replace(" ok", "")
    encoder = encoder_of(tmp_path, tokenizer=TextTokenizer(core),
                         questions={"q": binary("ok", "No")})  # fmt: skip
    assert "makes no tokens" in encoder.problems[0]


def test_a_question_that_depends_on_the_row(tmp_path: Path) -> None:
    text = PLAIN.replace("Answer:", "Would {{ member.bio }} like {{ item.title }}?")
    encoder = encoder_of(tmp_path, text)
    tree = encoder.encode(request_of()).tree
    assert tree is not None
    slot = tree.branches[0].slots[0]
    assert byte_bpe().decode([*slot.ids, *slot.paths[0]]) == "Would me like Heat? Yes"


def test_an_empty_question(tmp_path: Path) -> None:
    encoder = encoder_of(tmp_path, PLAIN.replace("Answer:", "{{ question.ask }}"))
    assert "block question" in encoder.problems[0]
    assert "end it with a text" in encoder.problems[0]


def test_several_questions_are_several_slots(tmp_path: Path) -> None:
    text = PLAIN.replace("Answer:", "{{ question.name }} {{ question.answers | join('/') }}:")
    questions = {"apply": binary(), "view": binary("Sure", "Never")}
    encoder = encoder_of(tmp_path, text, questions=questions, score="0.5*apply+0.5*view")
    encoded = encoder.encode(request_of())
    assert encoded.questions == ("apply", "view")
    assert encoded.tree is not None
    decode = byte_bpe().decode
    shown = [decode(s.ids) for s in encoded.tree.branches[0].slots]
    assert shown == ["apply Yes/No:", "view Sure/Never:"]
