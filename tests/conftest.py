"""Shared fixtures: tiny models built in memory, the real ones for slow tests, and a sealed home.

A test that is not marked ``slow`` cannot download anything: it sees an empty cache and is offline.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from support.browser import chromium, tabs  # noqa: F401 (fixtures of every module)

if TYPE_CHECKING:
    from promptrank.api.train import Trained

# A slow moment of the machine is no fault of the code; on CI the same examples are drawn each time.
settings.register_profile(
    "promptrank",
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("promptrank")

# Read once, when huggingface_hub is imported: no test ever talks to the hub.
os.environ["HF_HUB_OFFLINE"] = "1"
# Threads that wait by spinning make tiny models many times slower when cores are shared, with the
# other worker of pytest-xdist for one. Read once, when torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Numbers are held to what a CPU gives, unless a device is named (see bench/device.sh).
if "PROMPTRANK_TEST_DEVICE" not in os.environ:
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
# A developer's own project must not change what the tests find.
os.environ.pop("PROMPTRANK_PROJECT", None)

DOWNLOADS = {"smollm2_path", "gemma3_path", "ml100k_path"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever asks for a real model or data set is slow, whether or not it says so.

    And tests that share what a module or `whole` makes once stay with one worker of pytest-xdist:
    spread over two, they would have it made twice.
    """
    for item in items:
        if DOWNLOADS & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
        if item.get_closest_marker("xdist_group") is None and (shared := _shared_by(item)):
            item.add_marker(pytest.mark.xdist_group(shared))
        if item.config.getoption("loadgroup", False):
            _name_the_group(item)


def _shared_by(item: pytest.Item) -> str | None:
    """What those have in common that share something slow to make with this test."""
    fixtures = getattr(item, "_fixtureinfo", None)
    if fixtures is None:
        return None
    if "whole" in fixtures.name2fixturedefs:
        return "whole"
    scopes = {made.scope for stack in fixtures.name2fixturedefs.values() for made in stack}
    return item.path.stem if "module" in scopes else None


def _name_the_group(item: pytest.Item) -> None:
    """Write the group into the test's id, by which ``--dist loadgroup`` gives tests out.

    pytest-xdist 3.8 writes it where pytest 9.2 no longer reads it, so that every group is spread
    over all workers (https://github.com/pytest-dev/pytest-xdist/issues/1386).
    """
    kept = getattr(item, "_id", None)  # from pytest 9.2 on
    names = sorted({str(mark.args[0]) for mark in item.iter_markers("xdist_group")})
    if kept is not None and names:
        item._id = type(kept).parse(f"{item.nodeid}@{'_'.join(names)}")


@pytest.fixture(autouse=True)
def sealed(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """An empty cache and no downloads, except in slow tests, which use the user's own cache."""
    if request.node.get_closest_marker("slow"):
        return
    monkeypatch.setenv("PROMPTRANK_OFFLINE", "1")
    monkeypatch.setenv("PROMPTRANK_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="session")
def tiny_llama_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer Llama with a byte-level BPE tokenizer and a ChatML template."""
    from support.models import make_model

    return make_model(tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture(scope="session")
def tiny_sentencepiece_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer Llama whose tokenizer puts a space before every text, and BOS."""
    from support.models import make_model

    return make_model(tmp_path_factory.mktemp("models") / "spm", tokenizer="sentencepiece")


@pytest.fixture(scope="session")
def smollm2_path() -> Path:
    """SmolLM2-135M-Instruct through the pull code, in the user's own cache."""
    from promptrank.assets import resolve_model

    return resolve_model("smollm2-135m-instruct")


@pytest.fixture(scope="session")
def gemma3_path() -> Path:
    """Gemma 3 270M through the pull code, in the user's own cache; its terms are accepted here."""
    from promptrank.assets import resolve_model

    return resolve_model("gemma-3-270m", accept=True)


@pytest.fixture(scope="session")
def ml100k_path() -> Path:
    """MovieLens-100K through the pull code, in the user's own cache."""
    from promptrank.assets import resolve_dataset

    return resolve_dataset("ml-100k")


@pytest.fixture(scope="session")
def open_bandit_path() -> Path:
    """The Open Bandit data through the pull code, in the user's own cache."""
    from promptrank.assets import resolve_dataset

    return resolve_dataset("open-bandit")


@pytest.fixture
def toys(tmp_path: Path, tiny_llama_path: Path) -> Path:
    """A project of toys with a tiny model."""
    from support.toys import make_project

    return make_project(tmp_path / "toys", tiny_llama_path)


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny_llama_path: Path) -> "Trained":
    """What an unbroken training gives, for all that compare with one or start from one."""
    from support.runs import run
    from support.toys import make_project

    before = (tiny_llama_path / "model.safetensors").read_bytes()
    done = run(make_project(tmp_path_factory.mktemp("whole") / "toys", tiny_llama_path))
    assert (tiny_llama_path / "model.safetensors").read_bytes() == before
    return done
