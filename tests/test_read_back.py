"""What is written and read back: damaged anywhere, it gives the same values or one sentence."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest

from promptrank.adapters.alias import read_aliases, rollback, set_alias
from promptrank.adapters.card import check_files, read_card, write_card
from promptrank.adapters.shelf import adapter_config, adapter_digest, find_adapter
from promptrank.adapters.weights import weights_digest
from promptrank.assets.resolve import resolve_model
from promptrank.basics.json_files import DEEP, json_object, read_json
from promptrank.basics.seals import SEAL, read_sealed, sealed, write_sealed
from promptrank.engine.limits import model_limits
from promptrank.engine.plain_json import read_json as engine_json
from promptrank.errors import DataError, InputError, ModelError, PromptrankError
from promptrank.fusion.fusion_files import read_fusion, write_fusion
from promptrank.students.card import StudentCard, read_student
from promptrank.students.card import write_card as write_student_card
from promptrank.students.gbdt import trees as gbdt
from promptrank.students.kinds import kind_of
from promptrank.students.lessons import Learning
from promptrank.students.sequence import sasrec as sequence
from promptrank.training import checkpoints
from support.adapters import a_card, a_folder
from support.damage import ODD, damages, odd_values, refused_or_the_same
from support.students import lessons, plant, planted_task
from test_fusion import FUSION

# -- JSON --------------------------------------------------------------------------------------

FAULTS = [
    (b'{"a": 1', "JSON"),
    (b"", "JSON"),
    (b"\xff\xfe{}", "is not UTF-8 (at byte 0)"),
    (b'{"a": "\xe9"}', "is not UTF-8 (at byte 7)"),
    (b"[1]", "list"),
    (b"null", "nul"),
    (b'{"a": 1, "b": {"c": 1, "c": 2}}', "twice"),
    (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested"),
]


@pytest.mark.parametrize(("data", "message"), FAULTS)
@pytest.mark.parametrize("reader", [read_json, engine_json])
def test_each_fault_of_a_json_file_is_one_sentence(
    tmp_path: Path, data: bytes, message: str, reader: Callable[[Path], Any]
) -> None:
    """The engine's own reader says the same of the same faults."""
    path = tmp_path / "x.json"
    path.write_bytes(data)
    with pytest.raises(InputError) as raised:
        reader(path)
    said = str(raised.value)
    assert said.startswith(f"{path}: ")
    assert message.lower().replace("nul", "n") in said.lower() and "\n" not in said
    with pytest.raises(InputError, match=r"gone\.json"):
        reader(tmp_path / "gone.json")


@pytest.mark.parametrize("reader", [read_json, engine_json])
def test_a_byte_order_mark_is_passed_over(tmp_path: Path, reader: Callable[[Path], Any]) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": "\xc3\xa9"}')
    assert reader(path) == {"a": "é"}


def test_numbers_that_are_none_are_named_by_their_key() -> None:
    for text, said in (
        ('{"a": {"b": [1, NaN]}}', "x: holds nan under a.b.1, not a number"),
        ('{"a": -1e999}', "x: holds -inf under a, not a number"),
        ('{"a": 1' + "0" * 400 + "}", "x: holds a number of 401 digits under a"),
    ):
        with pytest.raises(DataError) as raised:
            json_object(text, "x")
        assert str(raised.value) == said
    assert json_object('{"a": -Infinity}', "x", constants=True) == {"a": float("-inf")}
    levels = '{"a": ' + "[" * (DEEP - 1) + "]" * (DEEP - 1) + "}"
    assert json_object(levels, "x")
    with pytest.raises(DataError, match=f"nested more than {DEEP} deep; write it anew"):
        json_object(levels.replace("[]", "[[]]"), "x", then="write it anew")


def test_a_seal_allows_other_white_space_and_no_other_value(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_sealed(path, {"b": (1, 2.5), "a": {10: "é", 9: None}, "p": Path("x")})
    given = {"b": [1, 2.5], "a": {"10": "é", "9": None}, "p": "x"}
    assert read_sealed(path, then="") == given
    held = json.loads(path.read_text(encoding="utf-8"))
    assert list(held)[-1] == SEAL
    path.write_text(json.dumps(held, indent=7, sort_keys=True))
    assert read_sealed(path, then="") == given
    path.write_text(json.dumps({**held, "p": "y"}))
    with pytest.raises(DataError, match=r"x.json: is not what was written.*; do so, or take its"):
        read_sealed(path, then="do so")
    del held[SEAL]  # as somebody does who changed it on purpose, and as older versions wrote it
    path.write_text(json.dumps({**held, "p": "y"}))
    assert read_sealed(path, then="") == {**given, "p": "y"}


# -- adapters, fusions -------------------------------------------------------------------------


@pytest.mark.long
def test_adapters(tmp_path: Path) -> None:
    root = tmp_path / "project"
    folder = a_folder(root / "adapters" / "toys", card=a_card())

    def read() -> Any:
        found = find_adapter("toys", root).folder
        return read_card(found), adapter_config(found), adapter_digest(found)

    assert refused_or_the_same(folder / "card.json", read, 250) < 25
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert refused_or_the_same(folder / name, read, 60) == 0
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 8}')
    with pytest.raises(ModelError, match=r"adapter_config.json is not what was written: .*card"):
        find_adapter("toys", root)
    (folder / "card.json").unlink()  # a plain peft adapter
    assert adapter_config(find_adapter("toys", root).folder)["r"] == 8


def test_an_adapter_without_digests_is_read_as_before(tmp_path: Path) -> None:
    """So are those that older versions made, the built-in one among them."""
    folder = a_folder(tmp_path / "old", card=a_card())
    card = json.loads((folder / "card.json").read_text())
    del card[SEAL], card["files"]
    (folder / "card.json").write_text(json.dumps(card))
    assert read_card(folder) == a_card()
    check_files(folder)


def test_aliases(tmp_path: Path) -> None:
    for target in ("one", "two"):
        set_alias(tmp_path, "movies@prod", target, "d" * 64)
    rollback(tmp_path, "movies@prod")
    path = tmp_path / "aliases.json"
    assert refused_or_the_same(path, lambda: read_aliases(tmp_path), 250) < 25


def test_fusions(tmp_path: Path) -> None:
    path = tmp_path / "like.json"
    write_fusion(path, FUSION)
    assert refused_or_the_same(path, lambda: read_fusion(path), 250) < 25
    text = path.read_text()
    held = json.loads(text)
    held["fused"]["weights"][0]["scale"] = 0.0
    write_sealed(path, held)
    with pytest.raises(ModelError, match=r"like.json: fused: the scale of .* is 0.0; fit it again"):
        read_fusion(path)


@pytest.mark.parametrize("kind", ["card", "aliases", "fusion"])
def test_odd_json_is_refused_or_read_whoever_wrote_it(tmp_path: Path, kind: str) -> None:
    set_alias(tmp_path, "movies@prod", "one", "d" * 64)
    write_card(tmp_path, a_card())
    write_fusion(tmp_path / "fusion.json", FUSION)
    path = tmp_path / f"{kind}.json"
    read: dict[str, Callable[[], Any]] = {
        "card": lambda: read_card(tmp_path),
        "aliases": lambda: read_aliases(tmp_path),
        "fusion": lambda: read_fusion(path),
    }
    whole = json.loads(path.read_text())
    del whole[SEAL]
    refused = 0
    for value in odd_values(whole, 150, 1):
        path.write_text(_text(value))
        try:
            read[kind]()
        except PromptrankError as error:
            assert str(path) in str(error)
            refused += 1
    assert refused > 40


def _text(value: Any) -> str:
    """JSON, however deep it is."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(50_000)
    try:
        return json.dumps(value)
    finally:
        sys.setrecursionlimit(before)


# -- students ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student of each kind that reads fields, as `distill` leaves them."""
    root = tmp_path_factory.mktemp("students")
    some = plant(400, lambda x: x[:, 0], 4, 7)
    given = lessons(some.requests("train"), some.truth)
    task = planted_task()
    for kind, module, options in (
        ("gbdt", gbdt, {"rounds": 4, "leaves": 4}),
        ("sequence", sequence, {"epochs": 1, "dim": 4, "layers": 1, "last": 3}),
    ):
        learning = Learning("labels", options=options)
        student = module.fit(task, lambda: given, learning, lambda _: None)
        folder = root / kind
        folder.mkdir()
        student.save(folder)
        card = StudentCard("s", kind, "planted", "q" * 64, "labels", facts=student.facts())
        write_student_card(folder, replace(card, metrics={"auc": float("nan"), "n": 1}))
    return root


REQUEST = plant(10, lambda x: x[:, 0], 4, 8).requests("test")[0]


def answers(folder: Path) -> Any:
    """What a student says, read as a ranker reads it."""
    student = read_student(folder)
    loaded = kind_of(student.card.kind).load(planted_task(), folder, None)
    # Text, for its figures hold a NaN, which is not equal to itself.
    return str(student.card), loaded.answers(REQUEST)["good"].tolist()


@pytest.mark.parametrize(
    ("kind", "name", "times"),
    [
        ("gbdt", "card.json", 150),
        ("gbdt", "features.json", 150),
        ("gbdt", "good.lgb.txt", 150),
        ("sequence", "card.json", 60),
        ("sequence", "inputs.json", 60),
        ("sequence", "weights.safetensors", 60),
    ],
)
def test_students(made: Path, tmp_path: Path, kind: str, name: str, times: int) -> None:
    folder = Path(shutil.copytree(made / kind, tmp_path / "s"))
    same = refused_or_the_same(folder / name, lambda: answers(folder), times)
    assert same < (times / 10 if name == "card.json" else 1)


@pytest.mark.long
def test_no_text_of_trees_is_parsed_that_is_not_what_was_written(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LightGBM ends the process on some damaged texts: no damaged one may reach it.

    Nor may one whose digest nobody wrote down; the card, which guards it too, is left out here.
    """
    folder = Path(shutil.copytree(made / "gbdt", tmp_path / "s"))
    whole = (folder / "good.lgb.txt").read_bytes()
    parsed: list[str] = []
    monkeypatch.setattr(lightgbm, "Booster", lambda model_str: parsed.append(model_str))
    for data in damages(whole, 100, 3):
        (folder / "good.lgb.txt").write_bytes(data)
        with pytest.raises(ModelError, match=r"good.lgb.txt: is not what was written"):
            gbdt.load(planted_task(), folder, None)
    (folder / "good.lgb.txt").unlink()
    with pytest.raises(ModelError, match=r"good.lgb.txt: cannot be read"):
        gbdt.load(planted_task(), folder, None)
    (folder / "good.lgb.txt").write_bytes(whole)
    features = json.loads((folder / "features.json").read_text())
    del features["boosters"], features[SEAL]
    (folder / "features.json").write_text(json.dumps(features))
    with pytest.raises(ModelError, match=r"features.json: has no digests of its trees"):
        gbdt.load(planted_task(), folder, None)
    assert not parsed


def test_a_students_files_belong_together(made: Path, tmp_path: Path) -> None:
    """Each file is whole, and they are of two students."""
    folder = Path(shutil.copytree(made / "gbdt", tmp_path / "s"))
    features = json.loads((folder / "features.json").read_text())
    features["facts"] = {}
    write_sealed(folder / "features.json", features)
    with pytest.raises(ModelError, match=r"features\.json is not what was written"):
        read_student(folder)
    (folder / "features.json").unlink()
    with pytest.raises(ModelError, match=r"features.json is missing; copy the student again"):
        read_student(folder)


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "name"),
    [("gbdt", "features.json"), ("sequence", "inputs.json"), ("gbdt", "card.json")],
)
def test_odd_json_of_a_student(made: Path, tmp_path: Path, kind: str, name: str) -> None:
    """Read without the card's digests, as of a folder that an older version made."""
    folder = Path(shutil.copytree(made / kind, tmp_path / "s"))
    path = folder / name
    whole = json.loads(path.read_text())
    del whole[SEAL]
    card = json.loads((folder / "card.json").read_text())
    del card[SEAL], card["files"]
    (folder / "card.json").write_text(json.dumps(card))
    if name == "card.json":
        del whole["files"]
    refused = 0
    for value in odd_values(whole, 120, 2):
        path.write_text(_text(value))
        try:
            answers(folder)
        except PromptrankError as error:
            assert name in str(error) or str(folder) in str(error)
            refused += 1
    assert refused > 20


def test_a_sequence_students_parts_are_of_one_size(made: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(made / "sequence", tmp_path / "s"))
    held = json.loads((folder / "inputs.json").read_text())
    for key, value in (
        ("centre", held["centre"][:-1]),
        ("ids", [*held["ids"], "more"]),
        ("shape", {**held["shape"], "layers": 10**9}),
        ("shape", {**held["shape"], "heads": 3}),
        ("shape", {**held["shape"], "dim": 0}),
        ("scales", {"good": {"base": [0.0], "worth": [1.0]}}),
        ("scales", {"bad": held["scales"]["good"]}),
    ):
        write_sealed(folder / "inputs.json", {**held, key: value})
        with pytest.raises(ModelError, match="distill the student again"):
            sequence.load(planted_task(), folder, None)


# -- checkpoints, models -----------------------------------------------------------------------


def test_checkpoints(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint-2"
    folder.mkdir()
    state = {"best_global_step": 2, "stateful_callbacks": {}}
    (folder / "trainer_state.json").write_text(json.dumps(state))
    (folder / "adapter_model.safetensors").write_bytes(bytes(range(256)))
    checkpoints.mark(folder)
    assert checkpoints.damage(folder) is None
    for name in ("trainer_state.json", "adapter_model.safetensors", "whole.json"):
        whole = (folder / name).read_bytes()
        for data in damages(whole, 80, 6):
            (folder / name).write_bytes(data)
            problem = checkpoints.damage(folder)
            if name != "whole.json":  # of which other white space changes nothing
                assert problem == f"{name} is not what was written: it was damaged or changed since"
        (folder / name).write_bytes(whole)
    assert checkpoints.damage(folder) is None
    (folder / "trainer_state.json").unlink()
    assert checkpoints.damage(folder) == "trainer_state.json is missing"


@pytest.mark.long
def test_odd_model_folders(tmp_path: Path, tiny_llama_path: Path) -> None:
    """Nobody wrote down what they held, so only that each fault is one sentence can be asked."""
    folder = Path(shutil.copytree(tiny_llama_path, tmp_path / "model"))
    index = {"weight_map": {"a": "model.safetensors"}, "metadata": {}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    for name, read in (
        ("config.json", lambda: model_limits(folder)),
        ("model.safetensors.index.json", lambda: resolve_model(str(folder))),
    ):
        path = folder / name
        whole = path.read_text()
        for value in [*odd_values(json.loads(whole), 100, 4), *ODD, _Deep]:
            path.write_text("[" * 10**5 if value is _Deep else _text(value))
            try:
                read()
            except PromptrankError as error:
                assert str(folder) in str(error)
        path.write_text(whole)
        read()
    weights = folder / "model.safetensors"
    whole_bytes = weights.read_bytes()
    digest = weights_digest(folder)
    for data in damages(whole_bytes[:3000], 150, 4):
        weights.write_bytes(data + whole_bytes[3000:])
        try:
            assert isinstance(weights_digest(folder), str)
        except ModelError as error:
            assert str(weights) in str(error)
    weights.write_bytes(whole_bytes)
    assert weights_digest(folder) == digest


class _Deep:
    """Brackets and nothing else."""


def test_a_seal_is_of_plain_values() -> None:
    assert sealed({"a": np.float64(0.5), "b": Path("x"), SEAL: "old"}) == {
        "a": 0.5,
        "b": "x",
        SEAL: sealed({"b": "x", "a": 0.5})[SEAL],
    }
