"""Rankers opened by name: a task bound to a decoder or to a student."""

from collections.abc import Iterable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from promptrank.adapters.shelf import adapter_digest
from promptrank.basics.telling import Say, silent
from promptrank.engine.compute import Compute
from promptrank.engine.contract import EngineInfo
from promptrank.errors import InputError
from promptrank.fusion.step import FusionStep
from promptrank.ranking.methods.pointwise import Pointwise
from promptrank.ranking.posing import Fields, Prompts
from promptrank.ranking.ranker import Ranker
from promptrank.runs.manifest import task_digest, versions
from promptrank.runtime.decoders import ENGINES, is_engine
from promptrank.runtime.runtime import Runtime
from promptrank.scores.origin import Origin
from promptrank.students.card import StudentFolder, check_task, find_student
from promptrank.workspace.adapters import adapter_folders
from promptrank.workspace.baselines import BASELINE
from promptrank.workspace.encoders import open_encoder
from promptrank.workspace.fusions import OpenFusion, open_fusion
from promptrank.workspace.named import Named
from promptrank.workspace.policies import open_policy, with_policy
from promptrank.workspace.tasks import OpenTask, open_task

STUDENT = "student:"
DECODER = "decoder"


def open_ranker(
    task: str | OpenTask,
    *,
    engine: str = "packed",
    model: str | None = None,
    adapter: str | Path | None = None,
    project: str | Path | None = None,
    settings: Iterable[str] = (),
    threads: int | None = None,
    device: str = "auto",
    dtype: str | None = None,
    allow_changed: bool = False,
    runtime: Runtime | None = None,
    say: Say = silent,
) -> Ranker:
    """Open a task with its model, fetching the model first if need be.

    Args:
        task: name or path of a task.
        engine: ``packed``, ``vllm``, ``plain`` (one prompt at a time, slow: the reference),
            ``fake`` (deterministic numbers without a model's weights), or ``student:NAME``.
        model: name or path; the task's own where left out.
        adapter: a peft adapter folder, a name in ``adapters/``, or an alias (``movies@prod``).
        settings: ``a.b=c`` overrides of the task file.
        threads: CPU threads; torch's own choice where left out.
        device: of ``packed`` and ``plain``: ``auto`` (cuda if there, else mps, else cpu), ``cpu``,
            ``cuda``, ``cuda:1`` or ``mps``.
        dtype: of the weights: ``float32``, ``bfloat16``, ``float16``, or ``int8`` (on a CPU);
            bfloat16 on cuda and float32 elsewhere where left out; vllm: float32.
        allow_changed: only warn where template or answers changed since an adapter was trained.
        runtime: what owns the opened models; rankers that are given the same one share them, and
            closing a ranker then closes none. One for this ranker alone where left out.
        say: is told what takes long.

    Raises:
        InputError: whatever in the input keeps it from ranking.
    """
    if engine.startswith(BASELINE):
        raise InputError(f"{engine} learns from requests first; `rank` and `eval` take it")
    compute = Compute(threads, device, dtype)
    opened = open_task(task, project=project, settings=settings)
    policy = open_policy(opened)
    own = Runtime() if runtime is None else None
    try:
        if engine.startswith(STUDENT):
            if model is not None or adapter is not None:
                raise InputError(
                    f"student {engine.removeprefix(STUDENT)} has weights of its own; leave "
                    "--model and --adapter out"
                )
            student = find_student(engine.removeprefix(STUDENT), opened.project)
            check_task(student, opened.task, opened.name)
            ranker = student_ranker(opened, student, runtime or own or Runtime(), compute, say)
        else:
            ranker = _decoder_ranker(
                opened,
                engine,
                model,
                adapter,
                runtime or own or Runtime(),
                compute,
                allow_changed,
                say,
            )
    except BaseException:
        if own is not None:
            own.close()
        raise
    if own is not None:
        ranker.on_close(own.close)
    return with_policy(opened, ranker, policy)


def ranker_name(opened: OpenTask, engine: str) -> str:
    """What reports will call an engine's ranker: ``decoder``, ``student:NAME``, or a baseline.

    Raises:
        InputError: no such student.
    """
    if engine.startswith(STUDENT):
        student = find_student(engine.removeprefix(STUDENT), opened.project)
        return f"{STUDENT}{student.card.name}"
    return engine.removeprefix(BASELINE) if engine.startswith(BASELINE) else DECODER


def open_named(
    opened: OpenTask,
    who: Named,
    *,
    engine: str = "packed",
    model: str | None = None,
    compute: Compute = Compute(),  # noqa: B008 (frozen)
    runtime: Runtime | None = None,
    say: Say,
) -> Ranker:
    """The ranker behind ``base``, ``adapter:NAME`` or ``student:NAME``."""
    given: dict[str, Any] = {**asdict(compute), "runtime": runtime, "say": say}
    if who.kind == "student":
        return open_ranker(opened, engine=str(who), **given)
    adapter = who.name if who.kind == "adapter" else None
    return open_ranker(opened, engine=engine, model=model, adapter=adapter, **given)


def student_ranker(
    opened: OpenTask,
    student: StudentFolder,
    runtime: Runtime,
    compute: Compute = Compute(),  # noqa: B008 (frozen)
    say: Say = silent,
) -> Ranker:
    """The ranker of a student in its folder.

    Raises:
        InputError: a fused task, or a decoder student of other prompts than the task's today.
    """
    if opened.task.fused:
        raise InputError("a fusion is over a decoder's log-odds; a student ranks an unfused task")
    if student.card.kind == "decoder":
        return _decoder_student(opened, student, runtime, compute, say)
    if compute.special:
        say(
            f"student {student.card.name} computes in float64 on the CPU; {compute.special} is for "
            "decoders"
        )
    from promptrank.students.engine import StudentEngine
    from promptrank.students.kinds import kind_of

    name = f"{STUDENT}{student.card.name}"

    def load() -> StudentEngine:
        loaded = kind_of(student.card.kind).load(opened.task, student.folder, compute.threads)
        info = EngineInfo(student.card.kind, name, student.digest, "float64", 0, device="cpu")
        return StudentEngine(opened.task, loaded, info)

    key = ("student", student.folder, student.digest, opened.name, compute.threads)
    shared = runtime.opened(key, load)
    engine = shared.engine
    assert isinstance(engine, StudentEngine)
    method = Pointwise(opened.task, Fields(opened.task, name, student.digest))
    origin = _origin(opened, name, method.name, method.fingerprint, shared.info)
    return Ranker(opened.task, method, shared, origin, notes=engine.student.notes)


def _decoder_student(
    opened: OpenTask,
    student: StudentFolder,
    runtime: Runtime,
    compute: Compute,
    say: Say,
) -> Ranker:
    model = str(student.folder / "model")
    runtime.know(model, student.digest)
    ranker = _decoder_ranker(opened, "packed", model, None, runtime, compute, False, say)
    # Cards that are older than this fact say nothing; a probe leaves blocks out on purpose.
    known = student.card.facts.get("prompt", ranker.fingerprint)
    if known != ranker.fingerprint and not opened.left_out:
        raise InputError(
            f"student {student.card.name}: the prompts of {opened.name} have changed since "
            "(template, answers, budget or tokenizer); distill it again"
        )
    ranker.origin = replace(ranker.origin, ranker=f"{STUDENT}{student.card.name}")
    return ranker


def _decoder_ranker(
    opened: OpenTask,
    engine: str,
    model: str | None,
    adapter: str | Path | None,
    runtime: Runtime,
    compute: Compute,
    allow_changed: bool,
    say: Say,
) -> Ranker:
    from promptrank.assets import resolve_model

    if not is_engine(engine):
        raise InputError(
            f"no engine {engine!r}; engines: {', '.join(ENGINES)}, http://HOST:PORT, "
            "student:NAME, baseline:NAME"
        )
    name = model or opened.task.model
    folder = resolve_model(name, say=say)
    folder_of = adapter_folders(opened, name, folder, allow_changed=allow_changed, say=say)
    path = folder_of(adapter) if adapter is not None else None
    fusion: OpenFusion | None = None
    if opened.task.fused:
        fusion = open_fusion(opened, engine, folder, path, allow_changed=allow_changed, say=say)
    digest = adapter_digest(path)
    if path is not None and digest is not None:
        runtime.know(path, digest)
    shared = runtime.decoder(
        folder,
        name=name,
        engine=engine,
        compute=compute,
        longest=opened.task.budget.tokens,
        adapter=path,
        say=say,
    )
    tokenizer = runtime.tokenizer(folder)
    encoder = open_encoder(opened, folder, shared.info.max_tokens, tokenizer)
    another = partial(open_encoder, opened, folder, shared.info.max_tokens, tokenizer)
    method = Pointwise(opened.task, Prompts(encoder, another if runtime.stepping else None))
    origin = _origin(opened, DECODER, method.name, method.fingerprint, shared.info)
    origin = replace(
        origin,
        adapter=path,
        adapter_digest=digest,
        fusion=str(fusion.path) if fusion is not None else None,
        fusion_digest=fusion.digest if fusion is not None else None,
    )
    steps = (FusionStep(fusion.fusion, opened.task),) if fusion is not None else ()
    ranker = Ranker(
        opened.task,
        method,
        shared,
        origin,
        encoder=encoder,
        steps=steps,
        adapter=path,
        folder_of=folder_of,
    )
    if path is not None:
        runtime.uses(ranker, shared, path)
    return ranker


def _origin(opened: OpenTask, ranker: str, method: str, prompt: str, info: EngineInfo) -> Origin:
    return Origin(
        ranker,
        task=opened.name,
        task_digest=task_digest(opened.task),
        method=method,
        prompt=prompt,
        engine=asdict(info),
        versions=versions(),
    )
