"""The engine ``http``: what it sends, what it takes for an answer, and a server that has faults."""

import json
import math
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from promptrank.engine.contract import Branch, Failure, Slot, SlotScore, Tree, TreeScore
from promptrank.engine.http_engine import completions
from promptrank.engine.http_engine.completions import Completions
from promptrank.engine.http_engine.http import KEY, open_http
from promptrank.engine.packed import open_packed
from promptrank.errors import ModelError
from support.completions import SmallModel, serving
from support.engines import adapter, llama, saved
from support.vllm import skip_without_vllm

TREE = Tree(
    "r1",
    (4, 8, 15),
    tuple(Branch((16, number), (Slot((23,), ((5,), (6, 7))),)) for number in range(4)),
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> SmallModel:
    folder = tmp_path_factory.mktemp("model")
    tuned = adapter(llama(), folder / "tuned", 1)
    return SmallModel(saved(llama(), folder / "llama"), [str(tuned)])


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch, model: SmallModel) -> None:
    monkeypatch.setattr(completions, "_FIRST_WAIT", 0.0)
    model.calls.clear()


@pytest.mark.long
def test_prompts_are_ids_and_answers_are_asked_for_by_id(model: SmallModel) -> None:
    with serving(model) as url:
        engine = open_http(f"{url}/v1", model.folder)
        model.calls.clear()
        (score,) = engine.score([TREE])
        engine.close()
    assert not isinstance(score, Failure)
    sent = [(ids, call["logprob_token_ids"]) for call in model.calls for ids in call["prompt"]]
    for number in range(4):
        ids = [4, 8, 15, 16, number, 23]
        assert (ids, [5, 6]) in sent
        assert ([*ids, 6], [7]) in sent
        slot = score[number]
        assert isinstance(slot, tuple)
        first, second = model.logprobs("small", ids), model.logprobs("small", [*ids, 6])
        want = [float(first[5]), float(first[6] + second[7])]
        assert slot[0].logprobs == pytest.approx(want, abs=1e-5)
        assert slot[0].label_mass == pytest.approx(sum(map(math.exp, want)), abs=1e-5)
    assert len(model.calls) == 2, "prompts of the same wanted ids go together"


@pytest.mark.long
def test_it_goes_on_where_a_server_is_busy(model: SmallModel) -> None:
    busy = iter([503, 429, 500])

    def meddle(request: Request, body: dict[str, Any]) -> Response | None:
        status = next(busy, None)
        return None if status is None else Response("no", status, headers={"Retry-After": "0"})

    with serving(model, meddle) as url:
        engine = open_http(url, model.folder)
        (score,) = engine.score([TREE])
        engine.close()
    assert not isinstance(score, Failure)
    assert all(isinstance(branch, tuple) for branch in score)


@pytest.mark.long
def test_a_prompt_that_the_server_fails_at_costs_its_own_branch_alone(model: SmallModel) -> None:
    def meddle(request: Request, body: dict[str, Any]) -> Response | None:
        poisoned = any(ids[3:5] == [16, 2] for ids in body["prompt"])
        return JSONResponse({"error": {"message": "went wrong"}}, 400) if poisoned else None

    with serving(model, meddle) as url:
        engine = open_http(url, model.folder)
        (score,) = engine.score([TREE])
        engine.close()
    assert not isinstance(score, Failure)
    failed = [place for place, branch in enumerate(score) if isinstance(branch, Failure)]
    assert failed == [2]
    assert isinstance(score[2], Failure)
    assert score[2].reason == "refused"
    assert "400: went wrong" in score[2].message


@pytest.mark.long
def test_a_server_that_returns_the_likeliest_tokens_instead_is_refused(model: SmallModel) -> None:
    def meddle(request: Request, body: dict[str, Any]) -> dict[str, Any]:
        said = model.logprobs("small", body["prompt"][0])
        return body | {"logprob_token_ids": said.topk(5).indices.tolist()}

    with (
        serving(model, meddle) as url,
        pytest.raises(ModelError, match=r"no log-prob of token .*vLLM 0\.28 and later"),
    ):
        open_http(url, model.folder)


@pytest.mark.long
def test_a_log_prob_that_json_cannot_say_is_no_score(model: SmallModel) -> None:
    asked = 0

    def meddle(request: Request, body: dict[str, Any]) -> Response | None:
        nonlocal asked
        asked += 1
        if asked == 1:
            return None
        said = model.complete(body)
        for choice in said["choices"]:
            top = choice["logprobs"]["top_logprobs"][0]
            choice["logprobs"]["top_logprobs"] = [dict.fromkeys(top, -9999.0)]
        return JSONResponse(said)

    with serving(model, meddle) as url:
        engine = open_http(url, model.folder)
        (score,) = engine.score([TREE])
        engine.close()
    assert not isinstance(score, Failure)
    reasons = [branch.reason for branch in score if isinstance(branch, Failure)]
    assert reasons == ["not_a_number"] * 4


def test_a_server_that_has_gone_is_an_error_that_names_it(model: SmallModel) -> None:
    with serving(model) as url:
        engine = open_http(url, model.folder)
    with pytest.raises(ModelError, match=rf"{url}: cannot be reached .* is the server running"):
        list(engine.score([TREE]))
    engine.close()
    with pytest.raises(ModelError, match="cannot be reached"):
        open_http(url, model.folder)


def test_an_adapter_is_one_that_the_server_has(model: SmallModel, tmp_path: Path) -> None:
    with serving(model) as url:
        engine = open_http(url, model.folder)
        engine.load(model.adapters["adapter0"])
        with pytest.raises(ModelError, match=r"no adapter other \(it has adapter0\).*--lora-modu"):
            engine.load(str(tmp_path / "other"))
        engine.close()


def test_the_key_is_sent_and_never_told(model: SmallModel, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    def meddle(request: Request, body: dict[str, Any]) -> Response:
        shown.append(request.headers.get("authorization", ""))
        return JSONResponse({"error": {"message": "who are you"}}, 401)

    monkeypatch.setenv(KEY, "a-key-of-the-server")
    with serving(model, meddle) as url, pytest.raises(ModelError, match="401") as raised:
        open_http(url, model.folder)
    assert shown == ["Bearer a-key-of-the-server"]
    assert "a-key" not in str(raised.value)


@pytest.mark.long
def test_a_server_that_hangs_holds_up_neither_others_nor_the_end(model: SmallModel) -> None:
    held = threading.Event()

    def meddle(request: Request, body: dict[str, Any]) -> None:
        if body["prompt"][0][0] == 40:
            held.wait(60)

    slow = Tree("slow", (40, 8, 15), TREE.branches)
    with serving(model, meddle) as url:
        engine = open_http(url, model.folder)
        hanging, quick = engine.begin([slow]), engine.begin([TREE])
        next(hanging)
        answers: list[tuple[int, TreeScore]] = []
        while not answers:
            assert next(hanging) == []
            answers = next(quick)
        assert answers[0][0] == 0 and not held.is_set()
        hanging.close()
        engine.close()
        assert not held.is_set(), "it does not wait for an answer that nobody wants"
        with pytest.raises(ModelError, match="closed"):
            list(engine.begin([TREE]))
        held.set()


def test_an_address_with_a_key_is_refused(model: SmallModel) -> None:
    with pytest.raises(ModelError, match="PROMPTRANK_HTTP_KEY") as raised:
        open_http("http://me:secret@localhost:1", model.folder)
    assert "secret" not in str(raised.value)


@pytest.fixture(scope="module")
def vllm_server(smollm2_path: Path) -> Iterator[str]:
    """VLLM's own server with SmolLM2, in a process of its own."""
    skip_without_vllm()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--model", str(smollm2_path), "--served-model-name", "smollm2", "--host"]
    command += ["127.0.0.1", "--port", str(port), "--dtype", "float32", "--enforce-eager"]
    command += ["--max-model-len", "512", "--max-num-seqs", "16"]
    environment = os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    url = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + 300
        while True:
            assert process.poll() is None, process.communicate()[0][-3000:]
            assert time.monotonic() < end, "vLLM's server does not come up"
            try:
                if httpx.get(f"{url}/health", timeout=2).status_code == 200:
                    break
            except httpx.HTTPError:
                time.sleep(0.5)
        yield url
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.mark.slow
@pytest.mark.xdist_group("vllm-server")
def test_scores_of_a_real_server_are_those_of_packed(vllm_server: str, smollm2_path: Path) -> None:
    prefix = tuple(range(1000, 1100))
    branches = tuple(
        Branch(tuple(range(200 * n, 200 * n + 20)), (Slot((260,), ((1, 2), (1, 3), (7,))),))
        for n in range(1, 20)
    )
    trees = [Tree("r", prefix, branches), Tree("s", prefix[:50], branches[:3])]
    remote, packed = open_http(vllm_server, smollm2_path), open_packed(smollm2_path)
    assert remote.info.max_tokens == 512
    for got, want in zip(remote.score(trees), packed.score(trees), strict=True):
        assert isinstance(got, tuple)
        assert isinstance(want, tuple)
        for one, other in zip(got, want, strict=True):
            assert isinstance(one, tuple)
            assert isinstance(other, tuple)
            _same(one[0], other[0])
    remote.close()
    packed.close()


def _same(one: SlotScore, other: SlotScore) -> None:
    assert one.logprobs == pytest.approx(other.logprobs, abs=2e-3), json.dumps(one.logprobs)
    assert one.argmax == other.argmax


@pytest.mark.parametrize("url", ["http://", "http:///v1", "http://:8000"])
def test_an_address_without_a_server_is_told_as_one(url: str) -> None:
    with pytest.raises(ModelError, match=f"^{url}: names no server; write http://HOST:PORT$"):
        Completions(url)
