"""Training runs on a tiny model: the adapter, several tasks, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

import promptrank
from promptrank.adapters.card import read_card, write_card
from promptrank.api.train import Trained
from promptrank.cli.main import app
from promptrank.errors import DataError, InputError, ModelError
from promptrank.training.adapter_model import base_model, longest_packed
from promptrank.training.sampler import Draws
from promptrank.training.settings import Settings
from support.models import make_model
from support.runs import TURNS, WEIGHTS, apart, placed, run, weights_of


@pytest.mark.long
def test_an_adapter_and_its_card(whole: Trained, tiny_llama_path: Path) -> None:
    done = whole
    assert sorted(p.name for p in done.path.iterdir()) == [
        "adapter_config.json",
        WEIGHTS,
        "card.json",
    ]
    assert [p.name for p in done.path.parent.iterdir()] == ["a"]  # the run's folder is gone
    names = {n.split(".lora_")[0].rpartition(".")[2] for n in weights_of(done.path)}
    assert names == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    card = read_card(done.path)
    assert card is not None
    about = card.tasks["toys/like"]
    # Nine ratings of each of twelve people lie before the last two blocks; each trains once.
    assert about.split["requests"] == {"train": 24, "valid": 12, "labels": 108}
    assert about.before.keys() == about.after.keys() >= {"loss", "ndcg@10", "auc"}
    assert (about.after["loss"] or 9) < (about.before["loss"] or 0)
    assert card.base.name == str(tiny_llama_path)


@pytest.mark.slow
def test_what_is_measured_while_training_is_what_evaluate_says(toys: Path) -> None:
    done = run(toys, training=Settings(steps=2, every=2, lr=0.01, micro=2, batch=2))
    for adapter, metrics in ((None, done.before), (done.path, done.after)):
        report = promptrank.evaluate(
            "toys/like", split="valid", adapter=adapter, project=toys, settings=TURNS, draws=100
        )
        for name, cell in report.rankers[0].cells.items():
            assert cell.value == pytest.approx(metrics["toys/like"][name], abs=1e-4), name


@pytest.mark.long
def test_the_report_says_how_the_adapter_does_on_valid(toys: Path) -> None:
    out = toys / "report.json"
    training = Settings(steps=2, every=2, lr=0.01, micro=2, batch=2)
    done = run(toys, training=training, report=out)
    report = done.reports["toys/like"]
    written = json.loads(out.read_text())
    assert written == json.loads(report.to_json())
    assert (written["provenance"]["command"], written["provenance"]["task"]) == (
        "train",
        "toys/like",
    )
    assert written["counts"]["requests"] == 12
    (row,) = report.rankers
    assert (row.name, row.origin["task"], row.origin["method"]) == (
        "decoder",
        "toys/like",
        "pointwise",
    )
    after = done.after["toys/like"]
    assert {name: cell.value for name, cell in row.cells.items()} == {
        name: value for name, value in after.items() if name != "loss"
    }
    assert row.cells["ndcg@10"].low is not None


@pytest.mark.long
def test_a_report_is_of_one_task_and_of_what_was_validated(toys: Path) -> None:
    out = toys / "report.json"
    text = (toys / "tasks/toys/like.yaml").read_text()
    (toys / "tasks/toys/want.yaml").write_text(text)
    with pytest.raises(InputError, match="--report: is of one task"):
        run(toys, tasks=["toys/like", "toys/want"], report=out)
    said: list[str] = []
    training = Settings(steps=1, valid=0, batch=2)
    assert not run(toys, training=training, report=out, say=said.append).reports
    assert f"{out} is not written: there was nothing to validate on" in said
    assert not out.exists()


@pytest.mark.long
def test_a_loss_that_is_no_number_ends_the_run(toys: Path) -> None:
    with pytest.raises(ModelError, match=r"step .*the loss is .*Lower --lr"):
        run(toys, training=Settings(steps=6, lr=1e30, valid=0, prompt_weight=0.0))
    assert not (toys / "adapters" / "a").exists()


@pytest.mark.slow
def test_two_stages_and_two_tasks(toys: Path) -> None:
    text = (toys / "tasks/toys/like.yaml").read_text().replace("like it", "want it")
    (toys / "tasks/toys/want.yaml").write_text(text)
    tasks = ["toys/like", "toys/want"]
    training = Settings(
        steps=2, every=2, batch=2, temperature=2.0, metric="auc", limit=12, prompt_weight=0.0
    )
    shared = run(toys, "shared", tasks=tasks, training=training)
    assert set(shared.after) == set(tasks)
    card = read_card(shared.path)
    assert card is not None and set(card.tasks) == set(tasks)
    own = run(toys, "own", init="shared", training=training)
    assert own.before["toys/like"] == pytest.approx(shared.after["toys/like"], abs=1e-5)
    card = read_card(own.path)
    assert card is not None and card.init is not None and card.init.name == "shared"


def test_draws_follow_the_temperature() -> None:
    assert Draws([900, 100], 1.0, 0).draws == [900, 100]
    assert Draws([900, 100], 2.0, 0).draws == [750, 250]  # 30 : 10
    drawn = Draws([3, 1], 1e9, 0)
    assert drawn.draws == [2, 2]
    order = list(drawn)
    assert order.count(3) == 2 and len(set(order) - {3}) == 2
    assert order == list(drawn)
    drawn.set_epoch(1)
    assert len({tuple(drawn), tuple(order)}) == 2 or list(drawn) != order


def test_an_adapter_of_another_base_is_no_start(toys: Path, whole: Trained, tmp_path: Path) -> None:
    placed(whole, toys, "first")
    other = make_model(tmp_path / "other", seed=5)
    with pytest.raises(ModelError, match="was trained on"):
        run(toys, "second", init="first", model=str(other))
    (toys / "adapters/first" / WEIGHTS).unlink()
    with pytest.raises(ModelError, match=f"no {WEIGHTS}"):
        run(toys, "second", init="first")
    assert not list((toys / "adapters").glob("*second*"))


@pytest.mark.long
def test_an_adapter_with_other_layers_is_no_start(toys: Path, whole: Trained) -> None:
    first = placed(whole, toys, "first")
    kept = weights_of(first)
    kept.pop(sorted(kept)[0])
    save_file(kept, first / WEIGHTS)
    card = read_card(first)
    assert card is not None
    write_card(first, card)
    with pytest.raises(ModelError, match="does not have the layers of its own config"):
        run(toys, "second", init="first")
    assert [p.name for p in first.parent.iterdir()] == ["first"]


@pytest.mark.long
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["ratings.label=\"'like'\""], "events of the history answer like with 'like'"),
        (["ratings.label=\"'like'\"", "history.as=list"], "every label of question like is 'like'"),
        (["budget.candidate=15"], "none of its requests can be trained on.*candidate_too_long"),
        (["split={by: last, test: 9}"], "no request in the part train"),
    ],
)
def test_what_teaches_nothing_is_refused(toys: Path, change: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(toys, settings=[*TURNS, *change])
    assert not list(toys.glob("adapters/*"))


def test_unlabelled_requests_are_refused(toys: Path, tmp_path: Path) -> None:
    lines = [
        {"request_id": "1", "split": "train", "item_id": "t1", "item": {"title": "a", "color": ""}},
        {"request_id": "1", "item_id": "t2", "item": {"title": "b", "color": ""}},
    ]
    for line in lines:
        line["member"] = {"name": "P"}
    file = tmp_path / "r.jsonl"
    file.write_text("\n".join(json.dumps(line) for line in lines))
    with pytest.raises(DataError, match="none of 1 training requests has a label"):
        run(toys, requests=file)


@pytest.mark.long
def test_tasks_whose_answers_conflict_are_refused(toys: Path) -> None:
    text = (toys / "tasks/toys/like.yaml").read_text()
    text = text.replace("value: 1", "value: 2").replace("value: 0", "value: 1")
    text = text.replace("value: 2", "value: 0")
    (toys / "tasks/toys/odd.yaml").write_text(text)
    with pytest.raises(InputError, match="'Yes' is a relevant answer in one of them only"):
        run(toys, tasks=["toys/like", "toys/odd"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lora": {"use_dora": True}}, "use_dora=True cannot be served by vLLM"),
        ({"lora": {"target_modules": ["lm_head"]}}, "lm_head"),
        ({"lora": {"r": 4}}, "say --rank"),
        ({"lora": {"init_lora_weights": "pissa"}}, "changes the base model's own weights"),
        ({"rank": 4096}, "ranks are 1 to 512"),
        ({"losses": {"listwize": 1.0}}, "did you mean listwise"),
        ({"shape": "turn"}, "did you mean turns"),
        ({"metric": "acu"}, "acu"),
        ({"prompt_weight": 1.0}, "below 1"),
        ({"trainer": {"seed": 3}}, "follows from other options"),
    ],
)
def test_options_that_cannot_work_are_refused_at_once(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Settings(**options)


@pytest.mark.long
def test_other_words_for_a_share_of_the_examples(toys: Path) -> None:
    with pytest.raises(InputError, match="no answer has a second wording"):
        run(toys, training=Settings(rewordings=0.5))
    template = (toys / "templates/toys/like.j2").read_text()
    (toys / "templates/toys/other.j2").write_text(template.replace("Toy:", "Plaything:"))
    more = [*TURNS, "questions.like.answers.like.say=[Yes, Sure]"]
    training = Settings(
        steps=1, valid=0, rewordings=0.5, templates={"toys/other.j2": 0.2}, prompt_weight=0.0
    )
    assert run(toys, settings=more, training=training).path.is_dir()


@pytest.mark.long
def test_the_command_line(toys: Path) -> None:
    words = "train toys/like --adapter cli --steps 2 --valid 0 --loss listwise=0.5 --loss answers"
    words += f" --lora lora_dropout=0.1 --half --batch 2 --project {toys}"
    result = CliRunner().invoke(app, words.split())
    assert result.exit_code == 0, result.output
    weights = weights_of(toys / "adapters/cli")
    assert {w.dtype for w in weights.values()} == {torch.bfloat16}
    again = CliRunner().invoke(app, words.split())
    assert isinstance(again.exception, InputError)
    assert "there is an adapter of this name" in str(again.exception)


@pytest.mark.slow
def test_a_window_shorter_than_an_example_is_kept_in_training(
    toys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow = str(make_model(tmp_path / "narrow", "gemma3", sliding_window=16))
    kept = run(toys, model=narrow)
    monkeypatch.setattr("promptrank.training.fit.layer_windows", lambda config: None)
    dropped = run(toys, "dropped", model=narrow)
    assert apart(kept.path, dropped.path) > 1e-6


def test_windows_that_the_self_test_does_not_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_model(tmp_path / "narrow", "gemma3", sliding_window=16)
    model = base_model(path, "narrow")
    assert longest_packed(model, "narrow", examples=40, requests=60) is None
    monkeypatch.setattr(
        "promptrank.training.adapter_model.misfit_beyond", lambda *test: "it is Monday"
    )
    assert longest_packed(model, "narrow", examples=16) is None
    # Validation has one prompt at a time to fall back on.
    assert longest_packed(model, "narrow", examples=16, requests=17) == 16
    with pytest.raises(ModelError, match=r"a window of 16, and the self-test found that it is Mon"):
        longest_packed(model, "narrow", examples=17)
