"""What is wrong with the tensors of an adapter file, in one sentence with its likely cause."""

import re

Shapes = dict[str, tuple[int, ...]]

_PREFIX = "base_model.model."
# What wrappers put before a name: peft, a model's own, DistributedDataParallel, torch.compile.
_WRAPPERS = re.compile(r"^(?:(?:base_model|model|module|_orig_mod)\.)*")
# lora_A.default.weight: the adapter's name in a live model, which save_pretrained leaves out.
_LIVE = re.compile(r"(\.lora_[A-Za-z_]+)\.[^.]+(?=\.(?:weight|bias)$)")
_SHOWN = 120


def misfit(wanted: Shapes, given: Shapes, modules: set[str], trained_on: str) -> str | None:
    """Why an adapter's file is not what its config asks for on this model; None where it is.

    Args:
        wanted: shapes of the tensors that the config asks for, by peft's names.
        given: those of the file.
        modules: names of the model's modules.
        trained_on: the model that the adapter names.
    """
    if wanted == given:
        return None
    if not any(".lora_" in name for name in given):
        return (
            f"holds no LoRA tensor ({_some(sorted(given)) or 'no tensor at all'}), where its "
            f"config asks for {len(wanted)}; save it with peft's save_pretrained"
        )
    if why := _renamed(wanted, given):
        return why
    extra, missing = sorted(given.keys() - wanted.keys()), sorted(wanted.keys() - given.keys())
    return (
        _other_model(extra, modules, trained_on)
        or _other_shape(wanted, given, trained_on)
        or _missing(missing, wanted, given, trained_on)
        or f"has more than its config asks for: {_some(extra)}; that would change the base model "
        "itself, or be passed over; save it again with peft's save_pretrained and "
        "save_embedding_layers=False"
    )


def _renamed(wanted: Shapes, given: Shapes) -> str | None:
    """The cause where names alone are wrong."""
    odd = [name for name in sorted(given) if ".lora_" in name and name not in wanted]
    if not odd:
        return None
    unnamed = {name: _LIVE.sub(r"\1", name) for name in odd}
    cores = {_WRAPPERS.sub("", name) for name in wanted}
    if not any(_WRAPPERS.sub("", name) in cores for name in unnamed.values()):
        return None
    if any(name != short for name, short in unnamed.items()):
        cause = "which is the name in a live peft model; save it with save_pretrained"
    else:
        cause = f"where peft puts {_PREFIX} before a layer; save it with peft's save_pretrained"
    return (
        f"{len(odd)} of its {len(given)} tensors do not reach the model: the first is named "
        f"{_cut(odd[0])}, {cause}"
    )


def _other_model(extra: list[str], modules: set[str], trained_on: str) -> str | None:
    layers = [n.removeprefix(_PREFIX).partition(".lora_")[0] for n in extra if ".lora_" in n]
    strange = [layer for layer in layers if layer not in modules]
    if not strange:
        return None
    return (
        f"does not fit the model (no layer {_cut(strange[0])}; {len(strange)} such tensors); "
        f"it was trained on {trained_on}"
    )


def _other_shape(wanted: Shapes, given: Shapes, trained_on: str) -> str | None:
    other = [n for n in sorted(wanted) if n in given and wanted[n] != given[n]]
    if not other:
        return None
    name = other[0]
    layer, _, kind = name.removeprefix(_PREFIX).partition(".lora_")
    want, has = wanted[name], given[name]
    if kind in ("A.weight", "B.weight") and len(has) == 2:
        side, rank = (1, 0) if kind == "A.weight" else (0, 1)  # A is (rank, in), B is (out, rank)
        if want[side] != has[side]:
            return (
                f"does not fit the model ({layer} is {want[side]} wide, the adapter's {has[side]}; "
                f"{len(other)} such); it was trained on {trained_on}"
            )
        return (
            f"{_cut(name)} has rank {has[rank]}, and adapter_config.json says {want[rank]} "
            f"({len(other)} of {len(wanted)} tensors differ): config and weights are of different "
            "adapters"
        )
    return (
        f"does not fit the model ({_cut(name)} is {list(has)}, and {list(want)} is asked for; "
        f"{len(other)} such); it was trained on {trained_on}"
    )


def _missing(missing: list[str], wanted: Shapes, given: Shapes, trained_on: str) -> str | None:
    if not missing:
        return None
    halves = [n for n in missing if n.replace(".lora_B", ".lora_A") in given and ".lora_B" in n]
    cause = (
        "lora_A without its lora_B changes nothing; save it with peft's save_pretrained"
        if halves == missing
        else f"a file cut short, or of another model; it was trained on {trained_on}"
    )
    return (
        f"does not have the layers of its own config: {len(missing)} of {len(wanted)} tensors are "
        f"missing, the first is {_cut(missing[0])} ({cause})"
    )


def _some(names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{_cut(names[0])}{more}"


def _cut(name: str) -> str:
    return name if len(name) <= _SHOWN else f"{name[: _SHOWN - 3]}..."
