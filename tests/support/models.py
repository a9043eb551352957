"""Tiny random decoders with real tokenizers, built in memory: no download, a fraction of a second.

``make_model(path, kind="llama")`` writes a complete model folder (config, safetensors, tokenizer).
Weights are drawn wide (``initializer_range=0.3``): with the usual 0.02 every log-prob is close to
``-log(vocabulary)``, and a test that compares scores would pass with a wrong mask.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import (
    BertConfig,
    BertModel,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

Kind = Literal["llama", "qwen3", "gemma3"]
TokenizerKind = Literal["bytes", "sentencepiece"]

CONTROL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

CORPUS = """\
You rank movies for a member. Answer with Yes or No.
The member liked these movies: Toy Story (1995), Animation, Children's, Comedy.
The member did not like: GoldenEye (1995), Action, Adventure, Thriller.
Will the member like the movie Four Rooms (1995)? Answer: Yes
Would this member like it? Answer: No
Title: Star Wars. Year: 1977. Genres: Action, Adventure, Romance, Sci-Fi, War.
Title: The Silence of the Lambs. Year: 1991. Genres: Drama, Thriller.
How many stars from 1 to 5 would the member give? Answer: 4
rated 5 of 5, rated 1 of 5, rated 3 of 5, 27 ratings, 3.9 on average, 12 days ago
Query: red running shoes for women, size 38. Product: trail shoe, waterproof, light.
Is this product relevant to the query? exact, substitute, complement, irrelevant
The source item is a book about the history of the sea. How similar is the candidate?
user
assistant
system
You are a helpful assistant.
A member who watched many films of the nineties and gave high ratings to old comedies.
Le Fabuleux Destin d'Amélie Poulain, Les Misérables, La Cérémonie, Café au Lait
"""

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}"
    "{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def byte_level_tokenizer(vocab_size: int = 800) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer shaped as SmolLM2's: digits alone, no prefix space, ChatML."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(CONTROL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(CORPUS.splitlines(keepends=True), trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def sentencepiece_tokenizer(vocab_size: int = 900) -> PreTrainedTokenizerFast:
    """A BPE tokenizer shaped as Llama-2: dummy prefix space, byte fall-back, BOS.

    It has no chat template. Spaces are written ``▁``, and one is put before every text that is
    encoded, so that fragments encoded apart need an anchor.
    """
    specials = ["<unk>", "<s>", "</s>"]
    core = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    core.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    # For training only: merges stay inside a word with the ▁ before it; digits stand alone.
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r"\n|[0-9]|▁*[^▁\n0-9]*"), "isolated")
    core.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    core.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=specials + byte_tokens, show_progress=False
    )
    core.train_from_iterator(CORPUS.splitlines(keepends=True), trainer)
    # The trainer makes byte tokens control tokens; in real models they are ordinary vocabulary.
    spec = json.loads(core.to_str())
    spec["pre_tokenizer"] = None
    spec["added_tokens"] = [t for t in spec["added_tokens"] if t["content"] in specials]
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(spec)),
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="</s>",
    )


TOKENIZERS: dict[TokenizerKind, Callable[[], PreTrainedTokenizerFast]] = {
    "bytes": byte_level_tokenizer,
    "sentencepiece": sentencepiece_tokenizer,
}


def begin_with_bos(fast: PreTrainedTokenizerFast) -> None:
    """Have a tokenizer put BOS before every text."""
    fast.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{fast.bos_token} $A",
        pair=f"{fast.bos_token} $A {fast.bos_token} $B",
        special_tokens=[(fast.bos_token, fast.bos_token_id)],
    )


def make_config(kind: Kind, vocab_size: int, **overrides: Any) -> PretrainedConfig:
    """A two-layer config of width 32 with grouped-query attention; ``overrides`` are its fields.

    Gemma3 gets one layer with a sliding window of 16 tokens and one that sees all.
    """
    fields: dict[str, Any] = {
        "vocab_size": vocab_size,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 2048,
        "initializer_range": 0.3,
        "tie_word_embeddings": True,
        "dtype": "float32",
    }
    if kind == "llama":
        return LlamaConfig(**fields | overrides)
    if kind == "qwen3":
        return Qwen3Config(**fields | overrides)
    window = {
        "sliding_window": 16,
        "layer_types": ["sliding_attention", "full_attention"],
        "query_pre_attn_scalar": 8,
    }
    return Gemma3TextConfig(**fields | window | overrides)


MODELS: dict[Kind, type[PreTrainedModel]] = {
    "llama": LlamaForCausalLM,
    "qwen3": Qwen3ForCausalLM,
    "gemma3": Gemma3ForCausalLM,
}


def make_model(
    path: Path,
    kind: Kind = "llama",
    *,
    tokenizer: TokenizerKind = "bytes",
    seed: int = 0,
    bos: bool = True,
    **overrides: Any,
) -> Path:
    """Write a tiny random model with its tokenizer into the folder ``path`` and return ``path``.

    Equal arguments give equal weights, and the global random state is left as it was.
    A Gemma's tokenizer begins every text with BOS, unless ``bos`` is false.
    ``overrides`` are config fields, such as ``sliding_window=64`` or ``num_hidden_layers=4``.
    """
    fast = TOKENIZERS[tokenizer]()
    if kind == "gemma3" and bos:
        begin_with_bos(fast)
    ids = {name: getattr(fast, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    config = make_config(kind, len(fast), **ids | overrides)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MODELS[kind](config).float()
    model.save_pretrained(path)
    fast.save_pretrained(path)
    return path


def make_sentences(path: Path, *, longest: int = 12) -> Path:
    """A random two-layer BERT in a folder laid out as sentence-transformers lays it out."""
    words = sorted({word.strip(".,:?").lower() for word in CORPUS.split()})
    core = Tokenizer(
        models.WordLevel(
            {w: i for i, w in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words])}, "[UNK]"
        )
    )
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    core.enable_padding(length=16)  # as the real one's file has it, and is not to be kept
    torch.manual_seed(0)
    model = BertModel(
        BertConfig(
            vocab_size=core.get_vocab_size(),
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=24,
            max_position_embeddings=32,
            initializer_range=0.3,
        )
    )
    model.save_pretrained(path)
    core.save(str(path / "tokenizer.json"))
    kinds = ("Transformer", "Pooling", "Normalize")
    modules = [{"type": f"sentence_transformers.models.{kind}"} for kind in kinds]
    (path / "modules.json").write_text(json.dumps(modules))
    (path / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": longest}))
    (path / "1_Pooling").mkdir()
    pooling = {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
    (path / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return path
