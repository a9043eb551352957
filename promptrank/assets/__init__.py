"""Models and data without a hub: a name becomes a folder on this machine."""

from promptrank.assets.resolve import (
    PullName,
    dataset_names,
    pull_names,
    resolve_dataset,
    resolve_embedding,
    resolve_model,
)

__all__ = [
    "PullName",
    "dataset_names",
    "pull_names",
    "resolve_dataset",
    "resolve_embedding",
    "resolve_model",
]
