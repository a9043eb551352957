"""Which layers of a decoder attend over a sliding window, told by its config."""

from transformers import PreTrainedConfig
from transformers.cache_utils import get_layer_types_and_kwargs

from promptrank.errors import ModelError

Windows = tuple[int | None, ...]
"""Per layer its window, None for attention over all tokens. With a window w a token sees itself and
the w - 1 tokens before it on its path (`sliding_window_overlay` of transformers)."""


def layer_windows(config: PreTrainedConfig, file: str = "config.json") -> Windows | None:
    """The windows of all layers; None where a layer is of another kind: linear, chunked, states.

    Args:
        file: where the config is, for messages.

    Raises:
        ModelError: a window in which no token sees even itself.
    """
    text = config.get_text_config()
    kinds, _ = get_layer_types_and_kwargs(text)
    # That function leaves out layers that share the keys of others; the config's list does not.
    kinds = getattr(text, "layer_types", None) or kinds
    layers = text.per_layer_config
    if len(kinds) != len(layers) or {*kinds} - {"full_attention", "sliding_attention"}:
        return None
    windows = []
    for number, (kind, layer) in enumerate(zip(kinds, layers, strict=True)):
        window = layer.sliding_window if kind == "sliding_attention" else None
        if kind == "sliding_attention" and (not isinstance(window, int) or window < 1):
            raise ModelError(
                f"{file}: sliding_window: {window!r} in layer {number}, where no token would "
                "see even itself; give at least 1, or null where all layers see all tokens"
            )
        windows.append(window)
    return tuple(windows)


def narrowest(windows: Windows) -> int | None:
    """The smallest window; None where there is none."""
    return min((window for window in windows if window is not None), default=None)
