"""The process that runs vLLM: ``python -m promptrank.engine.vllm_engine.child IN OUT``.

IN and OUT are file descriptors of pipes; every message is a line of JSON (with NaN and Infinity,
as Python writes them). First comes ``{"open": settings}``, answered by ``error``, or by ``up``
and the kind of ``device``. Then:

    {"adapter": [number, name, folder]}     -> {"adapter": [number, error or null]}
    {"unload": number}                         no answer; no prompt of it is under way
    {"score": [[number, ids, wanted ids, adapter number or null], ...],
     "behind": small numbers first}
                                            -> {"done": [[number, log-probs, greedy id], ...],
                                                "tokens": [of their prompts, of these cached]}
                                               {"refused": [[number, why], ...]}
    {"drop": [number, ...]}                    no answer

When IN ends, the process ends, whatever it is doing.
"""

import heapq
import json
import os
import queue
import shutil
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from promptrank.engine.vllm_engine.launch import FOLDER, Launch

Message = dict[str, Any]


def main() -> None:
    """Open vLLM as told, then score until the pipe ends."""
    inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
    source, out = int(sys.argv[1]), os.fdopen(int(sys.argv[2]), "w", encoding="utf-8")
    threading.Thread(target=_read, args=(source, os.getppid(), inbox), daemon=True).start()

    def tell(**message: Any) -> None:
        out.write(json.dumps(message) + "\n")
        out.flush()

    # Whatever goes wrong in vLLM has to reach the other process as a sentence.
    try:
        engine = _open(Launch(**inbox.get()["open"]))
        tell(up=True, device=_device())
        _serve(engine, inbox, tell)
    except BrokenPipeError:
        os._exit(0)
    except BaseException as error:
        tell(error=_first_line(error))
        raise


def _read(source: int, parent: int, inbox: "queue.SimpleQueue[Message]") -> None:
    with os.fdopen(source, encoding="utf-8") as lines:
        for line in lines:
            inbox.put(json.loads(line))
    # The other process has closed the engine, or is gone; then nobody else removes our folder.
    if os.getppid() != parent and (folder := Path(tempfile.gettempdir())).name.startswith(FOLDER):
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"


def _open(settings: Launch) -> Any:
    from vllm import EngineArgs, LLMEngine
    from vllm.platforms import current_platform
    from vllm.usage.usage_lib import UsageContext

    options: dict[str, Any] = {}
    cache, block = settings.cache_bytes, settings.block_tokens
    if current_platform.is_cpu():
        cache = cache or 2 << 30
        # The smallest that its attention takes. Left to itself vLLM takes 128, and so computes
        # more of what candidates share once for each of them.
        block = block or 32
    if cache is not None:
        options["kv_cache_memory_bytes"] = cache
    if block is not None:
        options["block_size"] = block
    if settings.token_budget is not None:
        options["max_num_batched_tokens"] = settings.token_budget
        options["max_num_seqs"] = min(settings.token_budget, 256)
    if settings.lora_rank:
        options |= {"enable_lora": True, "max_lora_rank": settings.lora_rank}
        options |= {"max_loras": 2, "max_cpu_loras": 16}
    args = EngineArgs(
        model=settings.model,
        skip_tokenizer_init=True,
        trust_remote_code=False,
        load_format="safetensors",
        dtype=settings.dtype,
        max_model_len=settings.max_tokens,
        enable_prefix_caching=True,
        enforce_eager=settings.eager,
        # In bfloat16 logits near 18 are 0.07 apart, which makes ties of different scores.
        hf_overrides={"head_dtype": "float32"},
        disable_log_stats=True,
        seed=0,
        **options,
    )
    # Of an offline run: larger batches than a server's.
    return LLMEngine.from_engine_args(args, usage_context=UsageContext.LLM_CLASS)


def _device() -> str:
    """Kind of device that vLLM computes on, as `EngineInfo` names it."""
    from vllm.platforms import current_platform

    return str(current_platform.device_type)


def _serve(engine: Any, inbox: "queue.SimpleQueue[Message]", tell: Any) -> None:
    from vllm.platforms import current_platform

    most: int = engine.vllm_config.scheduler_config.max_num_seqs
    asked = PromptQueue(engine, apart=current_platform.is_cpu(), most=most)
    while True:
        while not inbox.empty() or not asked.left:
            message = inbox.get()
            if "score" in message:
                asked.put(message["score"], message["behind"])
            elif "adapter" in message:
                tell(adapter=asked.load(*message["adapter"]))
            elif "unload" in message:
                asked.unload(message["unload"])
            else:
                asked.drop(message["drop"])
        if refused := asked.add():
            tell(refused=refused)
        outputs = engine.step() if asked.running else ()
        finished = [output for output in outputs if output.finished]
        if finished:
            read = sum(len(output.prompt_token_ids or ()) for output in finished)
            cached = sum(output.num_cached_tokens or 0 for output in finished)
            tell(done=[asked.finish(output) for output in finished], tokens=[read, cached])


class PromptQueue:
    """The prompts that vLLM is working on, and those that wait.

    vLLM is given no more than it can run at once (``most``); what waits is in order of how many
    trees were sent with it, so that a lone one has not to wait for a long run's windows.

    On a CPU, prompts of the base model and prompts of adapters never run together (``apart``):
    vLLM 0.32 numbers "no adapter" -1 there, and so applies the last adapter to the base's prompts
    in such a batch (vllm/lora/ops/torch_ops/lora_ops.py).
    """

    def __init__(self, engine: Any, *, apart: bool, most: int) -> None:
        self._engine, self._apart, self._most = engine, apart, most
        self._waiting: list[tuple[int, int, list[Any]]] = []  # a heap; numbers rise
        self._on_base = False
        self._wanted: dict[str, list[int]] = {}
        self._params: dict[tuple[int, ...], Any] = {}
        self._adapters: dict[int, Any] = {}

    def load(self, number: int, name: str, folder: str) -> list[Any]:
        """Load an adapter now, so that a wrong one is found before a prompt needs it."""
        from vllm.lora.request import LoRARequest

        request = LoRARequest(name, number, folder)
        try:
            self._engine.add_lora(request)
        except (ValueError, RuntimeError, KeyError, OSError, AssertionError) as error:
            return [number, _first_line(error)]
        self._adapters[number] = request
        return [number, None]

    def unload(self, number: int) -> None:
        """Take an adapter out again."""
        if self._adapters.pop(number, None) is not None:
            self._engine.remove_lora(number)

    @property
    def left(self) -> bool:
        """Whether there is anything to do."""
        return bool(self._waiting or self._wanted)

    @property
    def running(self) -> bool:
        """Whether vLLM has any prompt."""
        return bool(self._wanted)

    def put(self, prompts: list[list[Any]], behind: int) -> None:
        """Take prompts in; `add` hands them on, those of a lower ``behind`` first."""
        for prompt in prompts:
            heapq.heappush(self._waiting, (behind, prompt[0], prompt))

    def add(self) -> list[list[Any]]:
        """Give vLLM what may run now; returns the prompts that it refuses, with the reason."""
        refused = []
        while self._waiting and len(self._wanted) < self._most:
            number, ids, wanted, adapter = self._waiting[0][2]
            if self._apart and self._wanted and self._on_base != (adapter is None):
                break
            heapq.heappop(self._waiting)
            self._on_base = adapter is None
            try:
                self._engine.add_request(
                    str(number),
                    {"prompt_token_ids": ids},
                    self._params_of(tuple(wanted)),
                    lora_request=None if adapter is None else self._adapters[adapter],
                )
            except ValueError as error:
                refused.append([number, _first_line(error)])
            else:
                self._wanted[str(number)] = wanted
        return refused

    def finish(self, output: Any) -> list[Any]:
        """A finished prompt's number, the log-probs that were wanted, and the greedy id."""
        wanted = self._wanted.pop(output.request_id)
        by_id = output.outputs[0].logprobs[0]
        # By id: columns are no order to rely on, and an id that is missing is an error.
        logprobs = [by_id[token].logprob for token in wanted]
        return [int(output.request_id), logprobs, output.outputs[0].token_ids[0]]

    def drop(self, numbers: list[int]) -> None:
        """Forget prompts whose results nobody will read."""
        gone = set(numbers)
        self._waiting = [entry for entry in self._waiting if entry[1] not in gone]
        heapq.heapify(self._waiting)
        names = [str(number) for number in numbers if str(number) in self._wanted]
        self._engine.abort_request(names)
        for name in names:
            del self._wanted[name]

    def _params_of(self, wanted: tuple[int, ...]) -> Any:
        """One object per set of answers."""
        from vllm import SamplingParams

        if wanted not in self._params:
            self._params[wanted] = SamplingParams(
                max_tokens=1,
                temperature=0.0,
                logprob_token_ids=list(wanted),
                detokenize=False,
                ignore_eos=True,
            )
        return self._params[wanted]


if __name__ == "__main__":
    main()
