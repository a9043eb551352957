"""Imports point one way, nothing goes round, and what must be quick to start stays light."""

import ast
import functools
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import promptrank

# Every module is parsed once, by one worker.
pytestmark = pytest.mark.xdist_group("imports")

PACKAGE = Path(promptrank.__file__).parent

# A layer imports layers to its left only.
LAYERS = (
    "errors",
    "records",
    "basics",
    "places",
    "schema",
    "project",
    "adapters",
    "assets",
    "simulation",
    "requests",
    "tables",
    "engine",
    "caching",
    "prompt",
    "probes",
    "runtime",
    "scores",
    "ranking",
    "fusion",
    "policy",
    "evaluation",
    "runs",
    "training",
    "students",
    "baselines",
    "workspace",
    "serve",
    "workbench",
    "purging",
    "api",
    "cli",
)
# Layers that may import less than what stands to their left.
ONLY = {"engine": {"errors"}, "simulation": {"errors", "basics"}}
HEAVY = {
    "accelerate",
    "bm25s",
    "datasets",
    "duckdb",
    "gguf",
    "lightgbm",
    "pandas",
    "peft",
    "prometheus_client",
    "pyarrow",
    "ray",
    "scipy",
    "sklearn",
    "starlette",
    "torch",
    "transformers",
    "uvicorn",
    "vllm",
}


def _module_name(path: Path) -> str:
    parts = list(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@functools.cache
def _nodes(module: str) -> list[ast.Import | ast.ImportFrom | ast.ClassDef]:
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    kinds = ast.Import | ast.ImportFrom | ast.ClassDef
    named = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    for node in named:
        if isinstance(node, ast.ClassDef):
            node.body = []  # whole trees of all modules in memory cost more time than parsing
    return named


def _imports(module: str) -> Iterator[str]:
    """Modules of the package that ``module`` imports anywhere: in functions and for types too."""
    package = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]
    for node in _nodes(module):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.split(".")[0] == "promptrank")
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*(above if node.level else []), *filter(None, [node.module])])
            if base.split(".")[0] != "promptrank":
                continue
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                yield whole if whole in MODULES else base


@functools.cache
def _targets(module: str) -> frozenset[str]:
    return frozenset(_imports(module)) - {module}


INSIDE = [m for m in MODULES if m not in {"promptrank", "promptrank.__main__"}]


def _layer(module: str) -> str:
    return module.split(".")[1]


def test_every_module_has_a_layer_and_every_folder_is_a_package() -> None:
    assert {_layer(module) for module in INSIDE} <= set(LAYERS)
    folders = {path.parent for path in MODULES.values()}
    assert all((folder / "__init__.py").is_file() for folder in folders)


@pytest.mark.long
def test_imports_point_left() -> None:
    wrong = {}
    for module in INSIDE:
        layer = _layer(module)
        allowed = ONLY.get(layer, set(LAYERS[: LAYERS.index(layer)])) | {layer}
        # The top of the package re-exports everything; inside, only its version may be asked for.
        inner = _targets(module) - {"promptrank"}
        if right := sorted(target for target in inner if _layer(target) not in allowed):
            wrong[module] = right
    assert wrong == {}, "these modules import what stands to their right"


@pytest.mark.long
def test_the_top_is_imported_for_its_version_only() -> None:
    wrong = []
    for module in INSIDE:
        for node in _nodes(module):
            if isinstance(node, ast.ImportFrom) and node.module == "promptrank":
                names = {a.name for a in node.names if f"promptrank.{a.name}" not in MODULES}
                wrong += [(module, name) for name in names - {"__version__"}]
            if isinstance(node, ast.Import):
                wrong += [(module, a.name) for a in node.names if a.name == "promptrank"]
    assert wrong == []


def test_no_cycles() -> None:
    inner = {module: _targets(module) - {"promptrank"} for module in INSIDE}
    list(graphlib.TopologicalSorter(inner).static_order())


def test_the_simulator_is_a_leaf() -> None:
    """Only its own verb knows it, so that it can grow or go without anybody else's noticing."""
    importers = {
        module
        for module in INSIDE
        if _layer(module) != "simulation"
        and any(f"{target}.".startswith("promptrank.simulation.") for target in _targets(module))
    }
    assert importers == {"promptrank.api.simulate", "promptrank.cli.simulate"}


def test_the_graph_is_read_from_the_code() -> None:
    assert "promptrank.errors" in _targets("promptrank.assets.resolve")
    assert "promptrank.assets.smollm2" in _targets("promptrank.assets.sources")  # inside a function


@pytest.mark.parametrize("module", ["promptrank", "promptrank.cli.main", "promptrank.assets"])
def test_starting_loads_nothing_heavy(module: str) -> None:
    code = f"import {module}, sys; sys.stdout.write(' '.join(m for m in sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert module in loaded
    assert not loaded & HEAVY


# What reads tasks and ranks; words to arguments need none of it. (typer looks for pydantic itself.)
OF_THE_WORK = {"jinja2", "numpy", "promptrank.schema.task", "rich", "tokenizers", "yaml"}


@pytest.mark.long
def test_help_loads_nothing_that_ranks() -> None:
    """A word that is not understood is told at once, and so is what there is."""
    code = (
        "import atexit, sys; from promptrank.__main__ import start\n"
        "atexit.register(lambda: sys.stdout.write('\\n' + ' '.join(sys.modules)))\n"
        "sys.argv = ['promptrank', 'rank', '--help']; start()"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(run.stdout.rpartition("\n")[2].split())
    assert "promptrank.cli.rank" in loaded
    assert not loaded & (HEAVY | OF_THE_WORK)


def test_all_is_sorted_and_complete() -> None:
    assert promptrank.__all__ == sorted(set(promptrank.__all__))
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    typed = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("promptrank.")
        for alias in node.names
    }
    assert set(promptrank.__all__) == typed


def test_no_public_name_is_also_a_module() -> None:
    # Importing promptrank.x would put the module in place of the function of that name.
    both = sorted(name for name in promptrank.__all__ if f"promptrank.{name}" in MODULES)
    assert both == []


def test_every_public_name_is_there() -> None:
    bare = [name for name in promptrank.__all__ if not getattr(promptrank, name).__doc__]
    assert bare == [], "these have no docstring"


VERBS = [m for m in INSIDE if m.startswith("promptrank.api.")]


def test_verbs_import_no_verb() -> None:
    pairs = [(module, target) for module in VERBS for target in _targets(module)]
    assert [pair for pair in pairs if pair[1].startswith("promptrank.api.")] == []


# The same idea in two rooms: a verb and its command, a reader of two kinds of files, and the like.
TWICE = {
    "adapters",
    "build",
    "card",
    "columns",
    "lambdamart",
    "read",
    "report",
    "step",
    "students",
    "tasks",
}


def test_files_have_names_of_their_own() -> None:
    rooms: dict[str, set[str]] = {}
    for module in INSIDE:
        if MODULES[module].name != "__init__.py" and _layer(module) != "cli":
            rooms.setdefault(MODULES[module].stem, set()).add(module)
    assert {name for name, modules in rooms.items() if len(modules) > 1} <= TWICE


def test_classes_have_names_of_their_own() -> None:
    classes: dict[str, list[str]] = {}
    for module in INSIDE:
        for node in _nodes(module):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                classes.setdefault(node.name, []).append(module)
    assert {name: where for name, where in classes.items() if len(where) > 1} == {}
