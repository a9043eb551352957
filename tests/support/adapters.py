"""Adapter folders with cards, on disk only: no model is loaded to make them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from promptrank.adapters.card import AdapterCard, Base, TaskCard, task_card, write_card
from promptrank.schema.load import parse_task
from promptrank.schema.task import Task

TASK: dict[str, Any] = {
    "domain": "toys",
    "template": "toys/like.j2",
    "tables": {"toys": {"path": "toys.csv", "key": "toy_id"}},
    "judgements": {"path": "j.csv", "query": "q", "item": "toys", "label": "grade"},
    "questions": {
        "like": {
            "ask": "Liked?",
            "answers": {"like": {"say": ["Yes"], "value": 1}, "not": {"say": ["No"], "value": 0}},
        }
    },
    "split": {"by": "subject", "test": 0.2, "valid": 0.1},
}
SOURCES = {"toys/like.j2": "{% block instruction %}Rank.{% endblock %}\n", "_base.j2": "one\ntwo\n"}


def a_task(**changes: Any) -> Task:
    return parse_task({**TASK, **changes}, "a.yaml")


def a_task_card(task: Task | None = None, sources: Mapping[str, str] = SOURCES) -> TaskCard:
    return task_card(
        task or a_task(),
        sources,
        data="d" * 64,
        requests={"train": 100, "valid": 10},
        before={"auc": 0.5, "ndcg@10": None},
        after={"auc": 0.75, "ndcg@10": 0.5},
    )


def a_card(base: Base | None = None, **tasks: TaskCard) -> AdapterCard:
    return AdapterCard(
        base or Base("tiny", "b" * 64),
        tasks or {"toys/like": a_task_card()},
        {"python": "3.11.0"},
        ("promptrank", "train", "toys/like"),
        "2026-01-01T00:00:00+00:00",
        {"learning_rate": 2e-4},
    )


def a_folder(folder: Path, seed: int = 0, card: AdapterCard | None = None) -> Path:
    """An adapter by its files; the weights fit no model."""
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4}))
    save_file({"a": np.full(3, seed, np.float32)}, folder / "adapter_model.safetensors")
    if card is not None:
        write_card(folder, card)
    return folder
