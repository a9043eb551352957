"""An adapter of a project folded into its base model."""

from pathlib import Path

from promptrank.adapters.card import read_card
from promptrank.adapters.shelf import check_base, find_adapter
from promptrank.basics.telling import Say
from promptrank.errors import ModelError


def merge_adapter(
    name: str, out: str | Path, *, model: str | None, project: Path, say: Say
) -> float:
    """Write base + adapter to a new model folder; the largest log-prob difference between the two.

    Args:
        model: the base model; what the adapter's card names where left out.

    Raises:
        InputError: ``out`` exists.
        ModelError: another base, no base known, or an adapter whose tensors do not fit.
    """
    from promptrank.adapters.merge import merge
    from promptrank.assets import resolve_model
    from promptrank.engine.adapter_tensors import read_adapter_tensors

    adapter = find_adapter(name, project)
    card = read_card(adapter.folder)
    base = model or (card.base.name if card is not None else None)
    if base is None:
        raise ModelError(f"{adapter.folder}: no card.json names its base model; give --model")
    folder = resolve_model(base, say=say)
    check_base(adapter.folder, base, folder)
    read_adapter_tensors(adapter.folder, folder)  # peft would pass over what does not fit
    say(f"merging {adapter.name} into {base}")
    return merge(folder, adapter.folder, Path(out))
