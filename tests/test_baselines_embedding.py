"""Sentence embeddings: pooling against the model itself, folders that are made otherwise, cosines.

A tiny random BERT stands for the real one, which a slow test holds against known figures.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from promptrank.assets import resolve_embedding, resolve_model
from promptrank.baselines.baseline import Sources
from promptrank.baselines.embedding import Embedding, EmbeddingFit
from promptrank.baselines.sentences import Sentences
from promptrank.errors import ModelError
from promptrank.records import Request, Subject
from support.baselines import an_aim, candidate, event

AIM = an_aim(["t"])
TEXTS = ["Star Wars", "a book about the history of the sea", "red running shoes", "comedy"]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from support.models import make_sentences

    return make_sentences(tmp_path_factory.mktemp("sentences"))


def asked(query: str | None, *texts: str, likes: tuple[str, ...] = ()) -> Request:
    rows = tuple(candidate(f"c{i}", fields={"t": text}) for i, text in enumerate(texts))
    subject = Subject(query_id=query, query={"text": query}) if query else Subject("m")
    history = tuple(event(text, int("sea" not in text), t=text) for text in likes)
    return Request("r", subject, rows, history)


def test_a_vector_is_the_mean_over_a_text_s_tokens_at_length_one(tiny: Path) -> None:
    import torch
    from tokenizers import Tokenizer
    from transformers import BertModel

    sentences = Sentences(tiny)
    model = BertModel.from_pretrained(tiny).eval()
    tokenizer = Tokenizer.from_file(str(tiny / "tokenizer.json"))
    tokenizer.no_padding()
    together = sentences.vectors(TEXTS)
    for text, vector in zip(TEXTS, together, strict=True):
        ids = tokenizer.encode(text).ids
        with torch.no_grad():
            mean = model(torch.tensor([ids])).last_hidden_state[0].mean(0).numpy()
        assert vector == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)
    # Neither the batch nor the order makes a vector; what was known already is the same again.
    alone = Sentences(tiny).vectors(TEXTS[1:2])
    assert together[1] == pytest.approx(alone[0], abs=1e-5)
    assert np.array_equal(sentences.vectors(TEXTS[::-1]), together[::-1])
    assert np.linalg.norm(together, axis=1) == pytest.approx(1)


def test_long_texts_are_cut_and_empty_ones_are_nothing(tiny: Path) -> None:
    sentences = Sentences(tiny)
    long = "the sea " * 40
    ten = " ".join(long.split()[:10])  # twelve tokens, of which two are control tokens
    vectors = sentences.vectors([long, ten, "", "  "])
    assert vectors[0] == pytest.approx(vectors[1], abs=1e-5)
    assert not vectors[2:].any()
    assert sentences.vectors([]).shape == (0, 16)


def test_cosines_of_query_and_history(tiny: Path) -> None:
    sentences = Sentences(tiny)
    model = Embedding(sentences, AIM.texts)
    a, b, c, d = sentences.vectors(TEXTS).astype(float)
    by_query = model.rank(asked(TEXTS[0], TEXTS[0], TEXTS[1], ""))
    assert by_query.scores == pytest.approx([1, a @ b, 0], abs=1e-6)
    # The book about the sea was not liked.
    by_history = model.rank(asked(None, TEXTS[3], likes=(TEXTS[0], TEXTS[1], TEXTS[2])))
    assert by_history.scores == pytest.approx([(a @ d + c @ d) / 2], abs=1e-6)
    assert model.rank(asked(None, TEXTS[3], likes=(TEXTS[1],))).scores == [0]


def test_the_model_is_asked_for_only_where_something_is_looked_for(tiny: Path) -> None:
    asked_for: list[tuple[str, str]] = []

    def model(name: str, baseline: str) -> Path | str:
        asked_for.append((name, baseline))
        return tiny if len(asked_for) == 1 else "it is not here"

    learner = EmbeddingFit(AIM)
    learner.add(asked(None, "x"))
    assert "to look for" in str(learner.fit(Sources(list, model=model)).reason)
    assert asked_for == []
    learner.add(asked("sea", "x"))
    fitted = learner.fit(Sources(list, model=model))
    assert asked_for == [("all-minilm-l6-v2", "embedding")]
    assert fitted.facts["fields"] == ["t"]
    assert fitted.facts["tokens"] == 12
    assert learner.fit(Sources(list, model=model)).reason == "it is not here"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "1_Pooling/config.json",
            json.dumps({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}),
            "pooling_mode_cls_token",
        ),
        ("modules.json", json.dumps([{"type": "x.Transformer"}]), "made by Transformer"),
        ("modules.json", "{", "modules.json"),
        ("sentence_bert_config.json", "{}", "no max_seq_length"),
        ("config.json", None, "has no config.json"),
        ("model.safetensors", "no weights", "cannot be loaded as a BERT"),
    ],
)
def test_folders_whose_vectors_would_be_others(
    tiny: Path, tmp_path: Path, name: str, text: str | None, message: str
) -> None:
    import shutil

    folder = Path(shutil.copytree(tiny, tmp_path / "model"))
    if text is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(text)
    with pytest.raises(ModelError, match=message):
        Sentences(folder)


def test_names_of_models_of_sentences(tiny: Path) -> None:
    assert resolve_embedding(str(tiny)) == tiny
    with pytest.raises(ModelError, match="promptrank pull all-minilm-l6-v2"):
        resolve_embedding("all-minilm-l6-v2")  # fast tests are offline
    with pytest.raises(ModelError, match="no such folder or model of sentences"):
        resolve_embedding("smollm2-135m-instruct")
    with pytest.raises(ModelError, match="a model of sentences, which writes no answers"):
        resolve_model("all-minilm-l6-v2")


@pytest.mark.slow
def test_the_real_model_gives_the_figures_that_are_known_of_it() -> None:
    """The first two are an example of sentence-transformers' documentation, to four digits."""
    sentences = Sentences(resolve_embedding("all-minilm-l6-v2"))
    vectors = sentences.vectors(
        [
            "A man is eating food.",
            "A man is eating a piece of bread.",
            "The girl is carrying a baby.",
        ]
    )
    assert sentences.longest == 256
    assert sentences.size == 384
    assert vectors[0] @ vectors[1] == pytest.approx(0.7553, abs=5e-5)
    assert vectors[0] @ vectors[2] == pytest.approx(-0.1050, abs=5e-5)
