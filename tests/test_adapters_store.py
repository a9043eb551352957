"""Finding adapters by path, name and alias; aliases and their history."""

import json
from pathlib import Path

import pytest

from promptrank.adapters.alias import current, is_alias, read_aliases
from promptrank.adapters.card import Base
from promptrank.adapters.shelf import check_base, check_name, find_adapter, list_adapters
from promptrank.api import adapters as api
from promptrank.errors import InputError, ModelError
from promptrank.project import builtin_root
from support.adapters import a_card, a_folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    for seed, name in enumerate(("movies", "movies-2", "toys")):
        a_folder(root / "adapters" / name, seed)
    return root


def test_a_name_a_path_and_what_is_built_in(project: Path, tmp_path: Path) -> None:
    adapter = find_adapter("movies", project)
    assert (adapter.name, adapter.origin) == ("movies", "project")
    assert adapter.folder == project / "adapters" / "movies"
    elsewhere = a_folder(tmp_path / "else" / "mine")
    adapter = find_adapter(elsewhere, project)
    assert (adapter.name, adapter.origin, adapter.folder) == ("mine", "path", elsewhere)


def test_a_project_shadows_what_is_built_in(project: Path, tmp_path: Path) -> None:
    shipped = tmp_path / "shipped"
    a_folder(shipped / "movies")
    a_folder(shipped / "shipped")
    assert find_adapter("movies", project, shipped=shipped).origin == "project"
    assert find_adapter("shipped", project, shipped=shipped).origin == "built-in"
    listed = {adapter.name: adapter.origin for adapter in list_adapters(project, shipped=shipped)}
    assert listed == {
        "movies": "project",
        "movies-2": "project",
        "shipped": "built-in",
        "toys": "project",
    }


def test_an_unknown_name_gets_near_ones_and_where_was_searched(project: Path) -> None:
    with pytest.raises(ModelError, match=r"no adapter movis: did you mean movies") as raised:
        find_adapter("movis", project)
    assert str(project / "adapters" / "movis") in str(raised.value)


def test_missing_files_are_named(project: Path) -> None:
    (project / "adapters" / "toys" / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"toys: it has no adapter_model\.safetensors"):
        find_adapter("toys", project)
    (listed,) = [a for a in list_adapters(project) if a.problem]
    assert listed.name == "toys"


def test_folders_that_are_no_adapters_are_not_listed(project: Path) -> None:
    (project / "adapters" / "notes").mkdir()
    a_folder(project / "adapters" / ".movies.part")
    a_folder(project / "adapters" / "run" / "checkpoint-10")
    own = [a.name for a in list_adapters(project) if a.origin == "project"]
    assert own == ["movies", "movies-2", "toys"]


@pytest.mark.parametrize("name", ["a/b", "", "a@b", "..", ".a", "a b"])
def test_names_of_new_adapters(name: str) -> None:
    assert check_name("movies-v2.1") == "movies-v2.1"
    with pytest.raises(InputError, match="no name for an adapter"):
        check_name(name)


def test_another_base_is_refused(tmp_path: Path) -> None:
    model = tmp_path / "model"
    a_folder(model)  # any safetensors will do
    plain = a_folder(tmp_path / "plain")
    check_base(plain, "tiny", model)
    from promptrank.adapters.weights import weights_digest

    fits = a_folder(tmp_path / "fits", card=a_card(Base("tiny", weights_digest(model))))
    check_base(fits, "tiny", model)
    other = a_folder(tmp_path / "other", card=a_card(Base("small", "e" * 64)))
    with pytest.raises(ModelError, match=r"trained on small \(weights e{12}\), and this is tiny"):
        check_base(other, "tiny", model)


def test_what_an_alias_is() -> None:
    assert is_alias("movies@prod")
    assert not any(is_alias(n) for n in ("movies", "@prod", "movies@", "a@b@c", "a/b@c"))


def test_an_alias_moves_and_rolls_back(project: Path) -> None:
    def at() -> str:
        return find_adapter("movies@prod", project).name

    for target in ("movies", "movies-2", "toys"):
        api.set_alias("movies@prod", target, project=project)
        assert at() == target
    assert find_adapter("movies@prod", project).alias == "movies@prod"
    assert api.rollback("movies@prod", project=project).target == "movies-2"
    assert at() == "movies-2"
    assert api.rollback("movies@prod", project=project).target == "movies"
    api.set_alias("movies@prod", "toys", project=project)
    # Never back to movies-2, which was rolled back before.
    assert api.rollback("movies@prod", project=project).target == "movies"
    with pytest.raises(InputError, match="nothing before movies"):
        api.rollback("movies@prod", project=project)
    assert at() == "movies"
    (steps,) = read_aliases(project / "adapters").values()
    assert [step.target for step in steps] == [
        *("movies", "movies-2", "toys"),
        *(None, None, "toys", None),
    ]


def test_an_alias_of_an_alias_stands_for_the_adapter_itself(project: Path) -> None:
    api.set_alias("movies@test", "movies-2", project=project)
    api.set_alias("movies@prod", "movies@test", project=project)
    api.set_alias("movies@test", "movies", project=project)
    assert find_adapter("movies@prod", project).name == "movies-2"


def test_an_alias_may_point_outside_the_project(project: Path, tmp_path: Path) -> None:
    outside = a_folder(tmp_path / "outside")
    api.set_alias("movies@prod", str(outside), project=project)
    assert find_adapter("movies@prod", project).folder == outside


def test_an_alias_refuses_files_that_changed_since(project: Path) -> None:
    api.set_alias("movies@prod", "movies", project=project)
    (project / "adapters" / "movies" / "adapter_config.json").write_text('{"r": 8}')
    with pytest.raises(ModelError, match="have changed since"):
        find_adapter("movies@prod", project)
    api.set_alias("movies@prod", "movies", project=project)
    assert find_adapter("movies@prod", project).name == "movies"


def test_bad_aliases(project: Path) -> None:
    with pytest.raises(InputError, match="is no alias"):
        api.set_alias("prod", "movies", project=project)
    with pytest.raises(ModelError, match="no adapter none"):
        api.set_alias("movies@prod", "none", project=project)
    assert not (project / "adapters" / "aliases.json").exists()
    with pytest.raises(ModelError, match=r"no alias 'movies@prod' .*aliases: none"):
        find_adapter("movies@prod", project)
    with pytest.raises(InputError, match=r"no alias 'x@y'; aliases: none"):
        api.rollback("x@y", project=project)


@pytest.mark.parametrize("text", ["[]", "{", '{"a@b": [{"when": "now"}]}'])
def test_a_broken_alias_file_is_one_message(project: Path, text: str) -> None:
    path = project / "adapters" / "aliases.json"
    path.write_text(text)
    with pytest.raises(ModelError, match=r"aliases\.json"):
        find_adapter("a@b", project)
    with pytest.raises(ModelError):
        api.set_alias("movies@prod", "movies", project=project)
    assert path.read_text() == text


def test_nothing_is_left_beside_the_alias_file(project: Path) -> None:
    api.set_alias("movies@prod", "movies", project=project)
    names = {path.name for path in (project / "adapters").iterdir()}
    assert names == {"aliases.json", "movies", "movies-2", "toys"}
    aliases = json.loads((project / "adapters" / "aliases.json").read_text())
    assert set(aliases["movies@prod"][0]) == {"at", "target", "digest"}
    assert current(()) is None


def test_shipped_adapters_are_whole() -> None:
    for adapter in list_adapters(builtin_root()):
        assert adapter.problem is None
