"""A completions server over a small model, one prompt at a time by transformers: vLLM's API."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import uvicorn
from peft import PeftModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from transformers import AutoModelForCausalLM

Body = dict[str, Any]


class SmallModel:
    """Attributes: calls: bodies of ``/v1/completions``, as they came."""

    def __init__(self, folder: Path, adapters: Sequence[str]) -> None:
        self._base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.folder, self.calls = folder, list[Body]()
        self.adapters = {f"adapter{number}": path for number, path in enumerate(adapters)}
        self._wrapped: Any = None
        # Switching adapters is of the whole model, and tests that meddle ask from threads.
        self._switching = threading.Lock()
        for name, path in self.adapters.items():
            if self._wrapped is None:
                self._wrapped = PeftModel.from_pretrained(self._base, path, adapter_name=name)
            else:
                self._wrapped.load_adapter(path, adapter_name=name)

    @torch.inference_mode()
    def logprobs(self, model: str, ids: Sequence[int]) -> torch.Tensor:
        """Of the next token; [vocabulary]."""
        prompt = torch.tensor([list(ids)])
        if self._wrapped is None:
            logits = self._base(prompt).logits
        elif model in self.adapters:
            self._wrapped.set_adapter(model)
            logits = self._wrapped(prompt).logits
        else:
            with self._wrapped.disable_adapter():
                logits = self._wrapped(prompt).logits
        return torch.log_softmax(logits[0, -1].float(), -1)

    def models(self) -> Body:
        base = {"id": "small", "root": str(self.folder), "parent": None, "max_model_len": 512}
        rows = [base]
        for name, path in self.adapters.items():
            rows.append({"id": name, "root": path, "parent": "small", "max_model_len": 512})
        return {"data": rows}

    def complete(self, body: Body) -> Body:
        self.calls.append(body)
        choices = []
        for index, ids in enumerate(body["prompt"]):
            with self._switching:
                said = self.logprobs(body["model"], ids)
            top = int(said.argmax())
            wanted = {top, *body["logprob_token_ids"]}
            choices.append(
                {
                    "index": index,
                    "logprobs": {
                        "tokens": [f"token_id:{top}"],
                        "top_logprobs": [{f"token_id:{i}": float(said[i]) for i in wanted}],
                    },
                }
            )
        return {"choices": choices[::-1]}  # in any order


@contextmanager
def serving(
    model: SmallModel, meddle: Callable[[Request, Body], Response | Body | None] | None = None
) -> Iterator[str]:
    """The server's address; ``meddle`` may answer in its place, or change what it is asked."""
    lock = threading.Lock()

    async def models(request: Request) -> Response:
        return JSONResponse(model.models())

    async def completions(request: Request) -> Response:
        body = await request.json()
        said = await asyncio.to_thread(meddle, request, body) if meddle is not None else None
        if isinstance(said, Response):
            return said
        with lock:
            return JSONResponse(model.complete(said or body))

    routes = [
        Route("/v1/models", models),
        Route("/v1/completions", completions, methods=["POST"]),
    ]
    config = uvicorn.Config(Starlette(routes=routes), port=0, log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
