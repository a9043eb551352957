"""The clients that people have, as they are installed, against a server on a real socket.

Those that are not installed are skipped: `dev` has `cohere` alone. `make test` runs this file a
second time where all of clients.txt is installed, and nothing is skipped there.
"""

import gc
import importlib
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from promptrank.ranking.ranker import Ranker
from promptrank.serve.app import make_app
from promptrank.serve.bounds import Bounds
from promptrank.serve.key_file import Keys
from promptrank.serve.shapes.every import SHAPES
from promptrank.workspace.rankers import open_ranker
from support.serving import hosted_of, serving

pytestmark = [
    pytest.mark.slow,
    # Of clients' own imports.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

TASK, KEY = "rerank/generic", "a-key-of-the-tests"
QUERY = "red running shoes"
DOCUMENTS = ["A blue lamp", "Running shoe, red", "A lamp that runs red", "Nothing"]


@pytest.fixture(scope="module")
def ranker(tiny_llama_path: Path) -> Iterator[Ranker]:
    with open_ranker(TASK, engine="fake", model=str(tiny_llama_path)) as ranker:
        yield ranker


@pytest.fixture(scope="module")
def url(ranker: Ranker) -> Iterator[str]:
    app = make_app(
        hosted_of(ranker, names=(TASK,)), SHAPES, keys=Keys([KEY]), bounds=Bounds(candidates=50)
    )
    with serving(app) as url:
        yield url


@pytest.fixture(scope="module")
def order(ranker: Ranker) -> list[tuple[int, float]]:
    candidates = [{"item_id": str(n), "item": {"text": t}} for n, t in enumerate(DOCUMENTS)]
    ranking = ranker.rank({"query": QUERY, "candidates": candidates})
    return [(int(s.item_id), s.probability or 0.0) for s in ranking.scored]


@pytest.fixture(autouse=True)
def left_open() -> Iterator[None]:
    """Sockets that a client leaves to the garbage collector are no fault of the next test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def installed(module: str) -> Any:
    """The module of a client; the test is skipped where it is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if Path(sys.prefix).name == "clients":
            raise
        pytest.skip(f"{module} is not installed ({error})")


def test_cohere_v2(url: str, order: list[tuple[int, float]]) -> None:
    cohere = installed("cohere")
    client = cohere.ClientV2(api_key=KEY, base_url=url)
    said = client.rerank(model=TASK, query=QUERY, documents=DOCUMENTS)
    assert [(r.index, r.relevance_score) for r in said.results] == order
    assert said.id and said.meta.api_version.version == "2"
    assert said.meta.billed_units.search_units == 1 and said.meta.tokens.input_tokens > 0
    top = client.rerank(model=TASK, query=QUERY, documents=DOCUMENTS, top_n=2)
    assert [r.index for r in top.results] == [index for index, _ in order[:2]]
    with pytest.raises(cohere.NotFoundError) as missing:
        client.rerank(model="rerank-v3.5", query=QUERY, documents=DOCUMENTS)
    assert "no task 'rerank-v3.5'" in missing.value.body["message"]
    with pytest.raises(cohere.UnprocessableEntityError, match="more than 50"):
        client.rerank(model=TASK, query=QUERY, documents=["x"] * 51)
    with pytest.raises(cohere.UnauthorizedError):
        cohere.ClientV2(api_key="wrong", base_url=url).rerank(
            model=TASK, query=QUERY, documents=DOCUMENTS
        )


def test_cohere_v1(url: str, order: list[tuple[int, float]]) -> None:
    cohere = installed("cohere")
    client = cohere.Client(api_key=KEY, base_url=f"{url}/cohere")
    said = client.rerank(model=TASK, query=QUERY, documents=DOCUMENTS, return_documents=True)
    assert [(r.index, r.relevance_score) for r in said.results] == order
    assert [r.document.text for r in said.results] == [DOCUMENTS[i] for i, _ in order]
    # At the root another shape answers, which the same client reads as well.
    plain = cohere.Client(api_key=KEY, base_url=url)
    said = plain.rerank(model=TASK, query=QUERY, documents=DOCUMENTS)
    assert [(r.index, r.relevance_score) for r in said.results] == order


def test_voyageai(url: str, order: list[tuple[int, float]]) -> None:
    voyageai = installed("voyageai")
    client = voyageai.Client(api_key=KEY, base_url=f"{url}/voyage/v1")
    said = client.rerank(QUERY, DOCUMENTS, model=TASK, top_k=3)
    assert [(r.index, r.relevance_score) for r in said.results] == order[:3]
    assert [r.document for r in said.results] == [DOCUMENTS[i] for i, _ in order[:3]]
    assert said.total_tokens > 0
    with pytest.raises(voyageai.error.InvalidRequestError, match="more than 50"):
        client.rerank(QUERY, ["x"] * 51, model=TASK)
    with pytest.raises(voyageai.error.AuthenticationError, match="needs a key"):
        voyageai.Client(api_key="wrong", base_url=f"{url}/voyage/v1").rerank(
            QUERY, DOCUMENTS, model=TASK
        )


def test_langchain_cohere(url: str, order: list[tuple[int, float]]) -> None:
    module = installed("langchain_cohere")
    documents = importlib.import_module("langchain_core.documents")
    reranker = module.CohereRerank(model=TASK, cohere_api_key=KEY, base_url=url, top_n=3)
    given = [documents.Document(page_content=text) for text in DOCUMENTS]
    kept = reranker.compress_documents(given, QUERY)
    assert [(d.page_content, d.metadata["relevance_score"]) for d in kept] == [
        (DOCUMENTS[i], score) for i, score in order[:3]
    ]


@pytest.mark.parametrize(
    ("module", "name", "options", "sent"),
    [
        ("cohere_rerank", "CohereRerank", {"model": TASK, "api_key": KEY}, ""),
        ("jinaai_rerank", "JinaRerank", {"model": TASK, "api_key": KEY}, "/jina/v1"),
        ("tei_rerank", "TextEmbeddingInference", {"auth_token": f"Bearer {KEY}"}, "/tei"),
    ],
)
def test_llama_index(
    url: str,
    order: list[tuple[int, float]],
    module: str,
    name: str,
    options: dict[str, Any],
    sent: str,
) -> None:
    rerank = installed(f"llama_index.postprocessor.{module}")
    schema = importlib.import_module("llama_index.core.schema")
    processor = getattr(rerank, name)(top_n=3, base_url=f"{url}{sent}", **options)
    nodes = [schema.NodeWithScore(node=schema.TextNode(text=t), score=0.0) for t in DOCUMENTS]
    kept = processor.postprocess_nodes(nodes, schema.QueryBundle(QUERY))
    assert [k.score for k in kept] == [score for _, score in order[:3]]
    if module != "tei_rerank":  # 0.3 goes by places and not by index, and so with TEI's own answers
        assert [k.node.text for k in kept] == [DOCUMENTS[index] for index, _ in order[:3]]


@pytest.mark.parametrize("who", ["cohere", "jina"])
def test_haystack(url: str, order: list[tuple[int, float]], who: str) -> None:
    module = installed(f"haystack_integrations.components.rankers.{who}")
    haystack, auth = installed("haystack"), installed("haystack.utils")
    key = auth.Secret.from_token(KEY)
    if who == "cohere":
        ranker = module.CohereRanker(model=TASK, api_key=key, api_base_url=url, top_k=3)
    else:
        ranker = module.JinaRanker(
            model=TASK, api_key=key, base_url=f"{url}/jina/v1/rerank", top_k=3
        )
    given = [haystack.Document(content=text) for text in DOCUMENTS]
    kept = ranker.run(query=QUERY, documents=given)["documents"]
    assert [(d.content, d.score) for d in kept] == [
        (DOCUMENTS[i], pytest.approx(score)) for i, score in order[:3]
    ]


def test_vllms_own_answers_are_read(url: str, order: list[tuple[int, float]]) -> None:
    """What vLLM declares as its answers, by its own classes."""
    protocol = installed("vllm.entrypoints.pooling.scoring.protocol")
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {KEY}"}) as http:
        said = http.post(
            "/vllm/v1/rerank", json={"model": TASK, "query": QUERY, "documents": DOCUMENTS}
        ).json()
        read = protocol.RerankResponse.model_validate(said)
        assert [(r.index, r.relevance_score) for r in read.results] == order
        scores = http.post("/score", json={"text_1": QUERY, "text_2": DOCUMENTS}).json()
        assert len(protocol.ScoreResponse.model_validate(scores).data) == len(DOCUMENTS)
