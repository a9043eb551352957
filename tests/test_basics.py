"""What every room uses: files written beside and renamed, digests, near names, numbers."""

import hashlib
import json
import math
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptrank.adapters.card import read_card
from promptrank.basics.digests import file_digest, files_digest, json_digest
from promptrank.basics.files import beside, put_folder, write_json, write_text
from promptrank.basics.hints import near, near_names
from promptrank.basics.numbers import finite, is_number, logsumexp, sigmoid
from promptrank.project import builtin_root

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# -- files -----------------------------------------------------------------------------------


def test_a_file_appears_under_its_name_when_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    with beside(path) as part:
        part.write_text("text")
        assert part.parent == path.parent and not path.exists()
    assert path.read_text() == "text"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_error_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, error: BaseException
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(type(error)), beside(path) as part:
        part.write_text("half of the ne")
        raise error
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(OSError, match="No space left"), beside(path) as part:
        part.symlink_to("/dev/full")
        part.write_bytes(b"new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_nothing_written_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), beside(path):
        pass
    assert path.read_text() == "old"


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    with pytest.raises(ValueError, match="halfway"), beside(folder) as part:
        part.mkdir()
        (part / "a.txt").write_text("a")
        raise ValueError("halfway")
    assert list(tmp_path.iterdir()) == []
    with beside(folder) as part:
        part.mkdir()
        (part / "a.txt").write_text("a")
    assert [p.name for p in folder.iterdir()] == ["a.txt"]


def test_a_folder_that_is_not_empty_is_not_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "old.txt").write_text("old")
    with pytest.raises(OSError, match="made"), beside(folder) as part:
        part.mkdir()
    assert [p.name for p in tmp_path.rglob("*")] == ["made", "old.txt"]


def test_text_is_utf8_and_a_lone_surrogate_an_escape(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "Zoë \ud83d\n")
    assert (tmp_path / "a.txt").read_bytes() == b"Zo\xc3\xab \\ud83d\n"


def test_json_takes_what_json_has_no_form_for_as_text(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"path": Path("x/y"), "name": "Zoë", "half": "\ud83d"})
    assert json.loads(path.read_text(encoding="utf-8")) == {
        "path": "x/y",
        "name": "Zoë",
        "half": "\ud83d",
    }
    assert "Zoë" in path.read_text(encoding="utf-8")


def test_a_folder_takes_the_place_of_another(tmp_path: Path) -> None:
    made, place = tmp_path / "made", tmp_path / "place"
    killed = tmp_path / ".place.123.old"
    for folder, text in ((made, "new"), (place, "old"), (killed, "older")):
        folder.mkdir()
        (folder / f"{text}.txt").write_text(text)
    put_folder(made, place)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["new.txt", "place"]


# -- digests ---------------------------------------------------------------------------------


def test_a_json_digest_is_of_sorted_keys_with_escapes() -> None:
    assert json_digest({"b": [1, None], "a": "ë"}) == sha256(b'{"a": "\\u00eb", "b": [1, null]}')
    assert json_digest({"a": Path("x")}) == json_digest({"a": "x"})


def test_a_json_digest_without_escapes_is_of_utf8() -> None:
    plain = json_digest({"b": [1, None], "a": "ë"}, escaped=False)
    assert plain == sha256('{"a": "ë", "b": [1, null]}'.encode())
    assert json_digest("\ud83d", escaped=False) == sha256(b'"\xed\xa0\xbd"')
    assert json_digest("a", escaped=False) == json_digest("a")


@pytest.mark.long
@given(st.dictionaries(st.text(), JSON, max_size=5), st.randoms(use_true_random=False))
def test_a_json_digest_does_not_depend_on_the_order_of_keys(
    value: dict[str, Any], random: Any
) -> None:
    names = list(value)
    random.shuffle(names)
    assert json_digest({name: value[name] for name in names}) == json_digest(value)


@pytest.mark.long
@given(JSON, JSON)
def test_other_values_have_other_json_digests(value: Any, other: Any) -> None:
    same = json.dumps(value, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (json_digest(value) == json_digest(other)) == same


def test_digests_of_files_are_of_their_content_in_order(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(b"one")
    b.write_bytes(b"two")
    assert file_digest(a) == sha256(b"one")
    digests = hashlib.sha256(b"one").digest() + hashlib.sha256(b"two").digest()
    assert files_digest([a, b]) == sha256(digests)
    assert files_digest([b, a]) != files_digest([a, b])
    named_otherwise = a.rename(tmp_path / "c")
    assert files_digest([named_otherwise, b]) == sha256(digests)
    assert files_digest([]) == sha256(b"")


def test_digests_on_disk_stay_what_they_are() -> None:
    """A card's fingerprints are kept: other digests of the same text would look like a change."""
    card = read_card(builtin_root() / "adapters" / "movies")
    assert card is not None
    for task in card.tasks.values():
        kept = {part: task.fingerprints[part] for part in ("template", "answers")}
        assert task.prompting.fingerprints == kept


# -- near names ------------------------------------------------------------------------------


def test_near_names_come_likest_first() -> None:
    assert near_names("title", ["titel", "genres", "titles"], 3) == ["titles", "titel"]
    assert near_names("title", {"year": 1}) == []


def test_a_hint_names_a_near_name_or_what_there_is() -> None:
    assert near("titel", ["title", "year"]) == "did you mean 'title'?"
    assert near("zzz", ["title", "year"]) == "there are: title, year"
    assert near("zzz", []) == "there are: none"
    many = [f"column_{n}" for n in range(13)]
    assert near("zzz", iter(many)).endswith("column_11, ...")


# -- numbers ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (2, 2.0),
        (True, 1.0),
        (np.float32(0.5), 0.5),
        (np.bool_(False), 0.0),
        (np.int64(3), 3.0),
        (Decimal("1.25"), 1.25),
        (Fraction(1, 4), 0.25),
        (math.nan, None),
        (Decimal("NaN"), None),
        (-math.inf, None),
        (10**400, None),
        ("2", None),
        (None, None),
        ([2], None),
    ],
)
def test_values_as_finite_numbers(value: Any, expected: float | None) -> None:
    assert finite(value) == expected
    assert type(finite(value)) in (float, type(None))


def test_what_counts_as_a_number() -> None:
    assert is_number(math.nan) and is_number(np.bool_(True)) and is_number(Decimal(1))
    assert not is_number("1") and not is_number(None) and not is_number(1j)


def test_the_sigmoid_at_its_ends_and_its_middle() -> None:
    assert sigmoid(0.0) == 0.5
    assert sigmoid(math.log(3)) == pytest.approx(0.75)
    assert (sigmoid(1e4), sigmoid(-1e4)) == (1.0, 0.0)
    assert 0 < sigmoid(-700.0) < 1e-300


@given(st.floats(-30, 30))
def test_the_sigmoid_is_symmetric(value: float) -> None:
    assert sigmoid(value) + sigmoid(-value) == pytest.approx(1.0)


def test_logsumexp_by_hand_and_at_extremes() -> None:
    assert logsumexp([math.log(1), math.log(2), math.log(5)]) == pytest.approx(math.log(8))
    assert logsumexp([1e4, 1e4]) == pytest.approx(1e4 + math.log(2))
    assert logsumexp([-1e4, -1e4]) == pytest.approx(-1e4 + math.log(2))
    assert logsumexp([0.0, -math.inf]) == 0.0
    assert logsumexp([-math.inf, -math.inf]) == -math.inf
    assert logsumexp([]) == -math.inf
    assert logsumexp(iter([1.5])) == 1.5
