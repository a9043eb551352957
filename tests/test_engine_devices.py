"""Devices and dtypes: what is found, what is refused, what each does to scores and to identity."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import promptrank
from promptrank.caching.cached_engine import CachedEngine
from promptrank.caching.score_cache import ScoreCache
from promptrank.engine import devices, int8
from promptrank.engine.compute import Compute
from promptrank.engine.contract import EngineInfo, Failure
from promptrank.engine.devices import find_device, settled, weights_need
from promptrank.engine.fake import FakeEngine
from promptrank.engine.model import load_model
from promptrank.engine.packed import open_packed
from promptrank.engine.probe import _flat, _trees
from promptrank.errors import ModelError
from promptrank.runtime.decoders import settle
from promptrank.training.processes import training_device
from support.engines import VOCAB, adapter, llama, saved
from support.toys import make_project


@pytest.fixture(scope="module")
def llama_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(llama(), tmp_path_factory.mktemp("llama"))


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that says it has two GPUs; nothing can run on them."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)


# ---- devices


def test_auto_is_a_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert settled(Compute()) == (torch.device("cpu"), "float32")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert settled(Compute()) == (torch.device("mps"), "float32")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for halves, dtype in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda halves=halves, **_: halves)
        assert settled(Compute()) == (torch.device("cuda"), dtype)
    assert settled(Compute(device="cuda:1", dtype="float32")) == (
        torch.device("cuda", 1),
        "float32",
    )


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "CPU", ""])
def test_a_device_that_nobody_knows(name: str) -> None:
    with pytest.raises(ModelError, match=r"not known; choose one of auto, cpu, cuda, mps"):
        Compute(device=name)


@pytest.mark.parametrize(
    ("version", "message"), [(None, r"is built for CPUs; install its CUDA build"), ("13.0", "sees")]
)
def test_no_gpu_says_why(
    monkeypatch: pytest.MonkeyPatch, version: str | None, message: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", version)
    monkeypatch.setattr(torch.version, "hip", None)
    for name in ("cuda", "cuda:1"):
        with pytest.raises(ModelError, match=f"device {name}: .*{message}.*or say --device cpu"):
            find_device(name)


@pytest.mark.usefixtures("two_gpus")
def test_what_a_gpu_does_not_take() -> None:
    with pytest.raises(ModelError, match=r"device cuda:2: there are 2 here"):
        find_device("cuda:2")
    with pytest.raises(ModelError, match=r"dtype int8: runs on a CPU only, not on cuda"):
        settled(Compute(dtype="int8"))
    assert training_device("cuda:0") == torch.device("cuda", 0)
    with pytest.raises(ModelError, match="CUDA_VISIBLE_DEVICES=1"):
        training_device("cuda:1")


def test_engines_that_have_no_such_choice() -> None:
    with pytest.raises(ModelError, match=r"fake has no weights .* leave --dtype int8 out"):
        settle("fake", Compute(dtype="int8"))
    with pytest.raises(ModelError, match=r"vllm .* leave --device cuda out"):
        settle("vllm", Compute(device="cuda"))
    with pytest.raises(ModelError, match="no --dtype int8"):
        settle("vllm", Compute(dtype="int8"))
    # What comes to the same is opened once.
    assert settle("packed", Compute()) == settle("packed", Compute(device="cpu", dtype="float32"))


# ---- memory


def test_a_gpu_too_small_is_told_before_loading(
    llama_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = sum(p.numel() for p in llama().parameters())  # tied, so the words stand there once
    assert weights_need(llama_path, "float32") == 4 * count
    assert weights_need(llama_path, "bfloat16") == 2 * count + 4 * VOCAB * 32
    monkeypatch.setattr(devices, "free_bytes", lambda device: 4 * count)
    load_model(llama_path, "float32")
    monkeypatch.setattr(devices, "free_bytes", lambda device: 4 * count - 1)
    with pytest.raises(ModelError, match=r"need 0\.00 GB in float32, and cpu has 0\.00 GB free"):
        load_model(llama_path, "float32")


@pytest.mark.long
def test_memory_that_ends_in_the_middle_is_told_of_each_request(
    llama_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ..."
        )

    engines = [open_packed(llama_path, name="m", plain=plain) for plain in (False, True)]
    monkeypatch.setattr(devices, "free_bytes", lambda device: 250_000_000)
    monkeypatch.setattr("promptrank.engine.packed_engine.run", full)
    monkeypatch.setattr("promptrank.engine.packed_engine.plain_logits", full)
    for engine in engines:
        for score in engine.score(_trees(40, VOCAB)):
            assert isinstance(score, Failure) and score.reason == "out_of_memory"
            assert (
                "m: cpu has run out of memory (0.25 GB are free): CUDA out of memory; end what "
                "else uses cpu, take --dtype bfloat16, take a smaller model, or say --device cpu"
            ) in score.message
    # And never a note that the model does not allow packing.
    with pytest.raises(ModelError, match="out of memory"):
        open_packed(llama_path)


# ---- int8


def test_rounding_by_hand() -> None:
    whole, scale = int8.rounded(torch.tensor([[127.0, -63.6, 0.4], [0.0, 0.0, 0.0]]))
    assert whole.tolist() == [[127, -64, 0], [0, 0, 0]]
    assert scale.tolist() == [[1.0], [0.0]]


def layer(weight: torch.Tensor, wide: tuple[int, ...] = (3, 5)) -> Any:
    """The product of a weight with these channels in float32."""
    channels = torch.tensor(wide, dtype=torch.long)
    whole, scale = int8.rounded(weight.index_fill(1, channels, 0.0))
    return int8.product(whole, scale[:, 0], channels, weight[:, channels])


@pytest.mark.parametrize("shape", [(24,), (3, 24), (2, 5, 24), (1, 0, 24)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("wide", [(), (3, 5)])
def test_a_product_is_that_of_the_rounded_numbers(
    shape: tuple[int, ...], bias: bool, wide: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(*shape), torch.randn(40, 24)
    more = torch.randn(40) if bias else None
    got = layer(weight, wide)(x, more)
    kept = torch.zeros(24).index_fill(0, torch.tensor(wide, dtype=torch.long), 1.0)
    inputs, sizes = (part.double() for part in int8.rounded(x * (1 - kept)))
    whole, scale = (part.double() for part in int8.rounded(weight * (1 - kept)))
    want = (inputs * sizes) @ (whole * scale).T + (x * kept).double() @ weight.double().T
    want = want + more.double() if more is not None else want
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, want.float(), atol=1e-5, rtol=1e-5)


def test_rounded_twice_an_uneven_row_keeps_its_small_numbers() -> None:
    torch.manual_seed(0)
    whole, scale = int8.rounded(torch.randn(40, 24))
    none = torch.zeros(0, dtype=torch.long)
    x = torch.randn(5, 24)
    x[:, 7] *= 1000
    want = x @ (whole * scale).T
    once, twice = (
        int8.product(whole, scale[:, 0], none, torch.zeros(40, 0), often)(x, None)
        for often in (False, True)
    )
    assert (once - want).abs().max() > 1
    assert (twice - want).abs().max() < (once - want).abs().max() / 100


def test_a_row_never_depends_on_its_neighbours() -> None:
    torch.manual_seed(0)
    multiply, x = layer(torch.randn(40, 24)), torch.randn(3, 24)
    alone = multiply(x[1:2], None)
    for neighbour in (1000.0, float("nan"), float("inf")):
        x[0], x[2] = neighbour, -x[2]
        assert torch.equal(multiply(x, None)[1:2], alone)
    assert not multiply(x, None)[0].isfinite().any()


def test_channels_with_large_inputs_stay_in_float32() -> None:
    model = llama(hidden_size=128, num_hidden_layers=1)
    norm = dict(model.named_parameters())["model.layers.0.input_layernorm.weight"]
    with torch.no_grad():
        norm[[9, 70]] *= 100  # two channels, in queries, keys and values
        x = torch.randn(50, 128) * norm
        want = x @ model.model.layers[0].self_attn.q_proj.weight.T
    wide = llama(hidden_size=128, num_hidden_layers=1)
    wide.load_state_dict(model.state_dict())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(int8, "_CHANNELS", 0)
        int8.quantize(wide, None)
    assert int8.quantize(model, None) == 7
    assert model.model.layers[0].self_attn.q_proj.weight.dtype == torch.int8
    # The columns of what is in float32 are 0 in what is whole.
    zero = (model.model.layers[0].self_attn.q_proj.weight == 0).all(0).nonzero().flatten()
    assert {9, 70} <= set(zero.tolist()) and len(zero) == int8.channels(128) == 4
    errors = [
        float((m.model.layers[0].self_attn.q_proj(x) - want).norm() / want.norm())
        for m in (model, wide)
    ]
    assert errors[0] < errors[1] / 5


@pytest.mark.long
@pytest.mark.parametrize("dtype", ["int8", "bfloat16"])
def test_packed_scores_are_plain_ones_in_fewer_bits_too(
    llama_path: Path, tmp_path: Path, dtype: str
) -> None:
    tuned = str(adapter(llama(), tmp_path / "tuned", seed=3))
    packed, plain, wide = (
        open_packed(llama_path, dtype=dtype),
        open_packed(llama_path, dtype=dtype, plain=True),
        open_packed(llama_path),
    )
    assert (packed.info.dtype, packed.info.device) == (dtype, "cpu")
    assert not any("self-test" in note for note in packed.info.notes)
    scores: dict[str | None, list[float]] = {}
    for name in (None, tuned, None):
        asked = [replace(tree, adapter=name) for tree in _trees(40, VOCAB)]
        got, want, exact = (_flat(engine.score(asked)) for engine in (packed, plain, wide))
        assert got == pytest.approx(want, abs=0.5)
        # Other numbers than in float32, and not far from them: the dtype is really there.
        apart = [abs(a - b) for a, b in zip(want, exact, strict=True)]
        assert 1e-3 < max(apart) < 0.8
        scores[name] = exact
    # The adapter moves scores by more than rounding does.
    assert max(abs(a - b) for a, b in zip(scores[None], scores[tuned], strict=True)) > 2


def test_logits_are_float32_whatever_the_weights_are(llama_path: Path) -> None:
    model: Any = load_model(llama_path, "bfloat16")
    with torch.no_grad():
        logits = model(torch.arange(3, 40)[None]).logits
    assert logits.dtype == torch.float32
    assert (logits != logits.bfloat16().float()).float().mean() > 0.9


# ---- what knows of it


def test_answers_of_another_device_or_dtype_are_not_taken(tmp_path: Path) -> None:
    def asked(cache: ScoreCache, **changes: str) -> bool:
        inner = FakeEngine()
        inner.info = replace(inner.info, **changes)  # type: ignore[arg-type]
        engine = CachedEngine(inner, cache)
        list(engine.score(_trees(40, VOCAB)[:1]))
        assert bool(engine.asked) != bool(engine.hits)
        return bool(engine.asked)

    with ScoreCache(tmp_path) as cache:
        changes: list[dict[str, str]] = [{}, {"device": "cpu"}, {"device": "cuda"}]
        changes += [{"dtype": "int8"}, {"digest": "another"}]
        assert all(asked(cache, **change) for change in changes)
        assert not any(asked(cache, **change) for change in changes)


@pytest.mark.slow
def test_a_stopped_run_does_not_go_on_in_another_dtype(
    tmp_path: Path, tiny_llama_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("promptrank.runs.scored_file.FILE_SHARD", 1)
    root = make_project(tmp_path / "toys", tiny_llama_path)
    out = tmp_path / "scores.parquet"

    said: list[str] = []

    def ranked(dtype: str, until: int) -> None:
        def progress(done: int, total: int | None) -> None:
            if done == until:
                raise KeyboardInterrupt

        given: dict[str, Any] = {"dtype": dtype, "say": said.append, "progress": progress}
        promptrank.rank("toys/like", out, project=root, limit=6, threads=1, **given)

    for until in (3, 5):
        with pytest.raises(KeyboardInterrupt):
            ranked("float32", until)
    assert "resuming: 2 requests were already ranked" in said
    said.clear()
    ranked("int8", -1)
    assert any(line.endswith("starting over") for line in said), said
    engine = json.loads((tmp_path / "scores.config.json").read_text())["engine"]
    assert (engine["dtype"], engine["device"]) == ("int8", "cpu")


@pytest.mark.long
def test_parity_knows_what_fewer_bits_cannot_be_compared_with(
    tmp_path: Path, tiny_llama_path: Path
) -> None:
    root = make_project(tmp_path / "toys", tiny_llama_path)
    report = promptrank.parity("toys/like", project=root, limit=2, threads=1, dtype="int8")
    assert set(report.absent) == {"vllm", "merged"}
    (packed,) = [row for row in report.rankers if row.agreement is not None]
    assert packed.agreement is not None and packed.agreement.passed


def test_info_of_older_engines_says_no_device() -> None:
    assert EngineInfo("x", "m", "0", "float32", 1).device is None
