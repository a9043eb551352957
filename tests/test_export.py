"""Exported examples: what `datasets` loads is what `render` shows and what training reads."""

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset
from typer.testing import CliRunner

import promptrank
from promptrank.api.render import render
from promptrank.basics.owner import owned
from promptrank.cli.main import app
from promptrank.errors import DataError, InputError
from promptrank.training.prepared import prepare
from promptrank.training.settings import Settings
from promptrank.workspace.request_files import given_file
from promptrank.workspace.tasks import open_task
from promptrank.workspace.training_parts import EncoderOpener

# An answer of several tokens, a second wording, two questions, and a chat with turns.
CHAT = [
    "history.as=turns",
    "ratings.group.last=3",
    "ratings.label={like: \"if(stars > 3, 'like', 'dislike')\", "
    "again: \"if(stars > 2, 'yes', 'no')\"}",
    "chat=true",
    "questions.like.answers.dislike.say=[Never ever, No]",
    "questions.again={ask: Again, answers: {yes: {say: Yes, value: 1}, no: {say: No, value: 0}}}",
    "score=like + again",
    "history.question=like",
    "budget.tokens=400",
]


def loaded(folder: Path, split: str, cache: Path) -> list[dict[str, Any]]:
    return list(load_dataset(str(folder), split=split, cache_dir=str(cache)))


@pytest.mark.long
@pytest.mark.parametrize("settings", [[], CHAT])
def test_what_is_loaded_is_what_render_shows(
    toys: Path, tmp_path: Path, tiny_llama_path: Path, settings: list[str]
) -> None:
    requests = tmp_path / "r.parquet"
    promptrank.build("toys/like", requests, project=toys, settings=settings)
    out = tmp_path / "out"
    done = promptrank.export(
        "toys/like",
        out,
        splits={"train", "test"},
        requests=requests,
        project=toys,
        settings=settings,
    )
    assert sorted(p.name for p in out.iterdir()) == [
        "README.md",
        "export.json",
        "test.parquet",
        "train.parquet",
    ]
    rows = loaded(out, "test", tmp_path / "cache")
    assert len(rows) == done.labels["test"] > 0 and not done.errors
    shown = {
        (request, candidate): render(
            "toys/like",
            request=request,
            candidate=candidate,
            requests=requests,
            project=toys,
            settings=settings,
        )
        for request, candidate in {(r["request_id"], r["candidate_id"]) for r in rows[::7]}
    }
    for row in rows:
        if (row["request_id"], row["candidate_id"]) not in shown:
            continue
        rendered = shown[row["request_id"], row["candidate_id"]]
        if row["question"] == "like":
            assert row["prompt"] + "\n" == rendered.as_text(only_text=True)
        lines = rendered.as_text(ids=True).splitlines()
        ids = [int(i) for line in lines if line.startswith("   ids ") for i in line.split()[1:]]
        branch = rendered.preview.encoded.tree.branches[rendered.place]  # type: ignore[union-attr]
        slot = branch.slots[rendered.preview.encoded.questions.index(row["question"])]
        assert ids[: len(row["prompt_ids"])] == row["prompt_ids"] or row["question"] != "like"
        assert row["prompt_ids"][-len(slot.ids) :] == list(slot.ids)
        assert tuple(row["completion_ids"]) in slot.paths
        assert row["split"] == "test"
        assert (row["answer"] in ("like", "yes")) == (row["value"] == 1)


@pytest.mark.long
def test_messages_are_what_the_chat_template_makes_the_prompt_of(
    toys: Path, tmp_path: Path, tiny_llama_path: Path
) -> None:
    from transformers import AutoTokenizer

    out = promptrank.export("toys/like", tmp_path / "out", project=toys, settings=CHAT).path
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama_path)
    lengths, asked = set(), set()
    for row in loaded(out, "train", tmp_path / "cache"):
        *before, answer = row["messages"]
        text = tokenizer.apply_chat_template(before, tokenize=False, add_generation_prompt=True)
        assert answer["role"] == "assistant" and row["completion"]
        assert text + answer["content"] == row["prompt"] + row["completion"]
        assert tokenizer.decode([*row["prompt_ids"], *row["completion_ids"]]) == (
            row["prompt"] + row["completion"]
        )
        assert {m["content"] for m in before[1::2]} <= {"Yes", "Never ever"}
        assert answer["content"] in ("Yes", "No", "Never ever")
        lengths.add(len(before))
        asked.add(row["question"])
    assert max(lengths) > 3 and asked == {"like", "again"}  # the history is turns


@pytest.mark.long
def test_labels_are_those_that_train(toys: Path, tmp_path: Path, tiny_llama_path: Path) -> None:
    requests, limit = tmp_path / "r.parquet", 40
    promptrank.build("toys/like", requests, project=toys)
    out = promptrank.export(
        "toys/like", tmp_path / "out", requests=requests, project=toys, limit=limit, seed=3
    )
    task = open_task("toys/like", project=toys)
    part = prepare(
        task.name,
        task.task,
        given_file(task, requests),
        Settings(shape="packed", limit=limit, seed=3, valid=0),
        EncoderOpener(task, tiny_llama_path, 2048),
        number=0,
        store=tmp_path / "examples",
        say=lambda _: None,
    )
    trained = {
        (example.request_id, name): (
            [*example.prefix, *branch.ids, *branch.slots[0].ids],
            target.value,
        )
        for example in part.examples
        for name, (branch, (target,)) in zip(example.candidate_ids, example.branches, strict=True)
        if target is not None
    }
    rows = loaded(out.path, "train", tmp_path / "cache")
    written = {(r["request_id"], r["candidate_id"]): (r["prompt_ids"], r["value"]) for r in rows}
    assert len(rows) == len(written) == out.labels["train"] == part.labels
    assert written == trained


@pytest.mark.slow
def test_the_folder_is_whole_or_as_it_was(toys: Path, tmp_path: Path) -> None:
    requests = tmp_path / "r.parquet"
    promptrank.build("toys/like", requests, project=toys)
    words = ["export", "toys/like", "--project", str(toys), "--limit", "20"]
    words += ["--requests", str(requests), "--to"]
    out = tmp_path / "deep" / "out"
    result = CliRunner().invoke(app, [*words, str(out)])
    assert result.exit_code == 0, result.output
    assert f"-> {out}/train.parquet" in result.stderr
    again = CliRunner().invoke(app, [*words, str(out)])
    assert isinstance(again.exception, InputError) and "say --overwrite" in str(again.exception)
    before = json.loads((out / "export.json").read_text())
    assert before["data"]["labels"]["train"] >= 20 and len(before["files"]) == 2
    assert CliRunner().invoke(app, [*words, str(out), "--overwrite", "--seed", "5"]).exit_code == 0
    assert json.loads((out / "export.json").read_text())["files"] != before["files"]

    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="holds files that export did not write"):
        promptrank.export("toys/like", mine, project=toys, overwrite=True)
    with owned(tmp_path / "taken", "test"), pytest.raises(InputError, match="is being written by"):
        promptrank.export("toys/like", tmp_path / "taken", project=toys)
    with pytest.raises(InputError, match="declares no split"):
        promptrank.export(
            "toys/like", tmp_path / "x", splits={"test"}, project=toys, settings=["split=null"]
        )
    unlabelled = ["ratings.label=if(stars > 9, 'like', NULL)"]
    with pytest.raises(DataError, match="no label in the part train"):
        promptrank.export("toys/like", tmp_path / "x", project=toys, settings=unlabelled)
    assert not list(tmp_path.glob("**/.*")) and not (tmp_path / "x").exists()
