"""What must hold between the parts of a task file."""

from promptrank.schema.expression import names_in
from promptrank.schema.policy_steps import problems_of_steps
from promptrank.schema.question_columns import shared_columns
from promptrank.schema.task_keys import FUSED, TaskKeys


def problems_of(task: TaskKeys) -> list[str]:
    """All that does not go together, each with its place in the file."""
    return [*_shape(task), *_references(task), *_scores(task), *_columns(task), *_steps(task)]


def _shape(task: TaskKeys) -> list[str]:
    problems = []
    given = [n for n in ("ratings", "judgements", "requests") if getattr(task, n) is not None]
    if len(given) != 1:
        names = " and ".join(given) or "none"
        problems.append(f"give exactly one of ratings, judgements and requests (found {names})")
    if task.wrapper is not None and task.chat:
        problems.append("wrapper: chat: true is the model's own wrapper; give one of the two")
    if task.wrapper is not None and task.history is not None and task.history.as_ == "turns":
        problems.append("wrapper: says nothing of turns; set history.as: list")
    if task.outcomes is not None and task.requests is None:
        problems.append("outcomes: goes with requests only")
    if task.requests is not None and task.outcomes is not None:
        if task.requests.candidate.label is not None:
            problems.append("requests.candidate.label: outcomes already says what happened")
        if task.outcomes.within is not None and task.requests.time is None:
            problems.append("outcomes.within: needs requests.time")
        if task.outcomes.within is not None and task.outcomes.time is None:
            problems.append("outcomes.within: needs outcomes.time")
    if task.ordered_only:
        if task.split is not None and task.split.by == "time":
            problems.append(
                "split.by: the data has an order and no clock; split by last or subject"
            )
        if task.ratings is not None and task.ratings.group.session is not None:
            problems.append("ratings.group.session: the data has an order and no clock; use last")
        if task.history is not None and task.history.lag:
            problems.append("history.lag: the data has an order and no clock")
        problems += [
            f"statistics.{n}.within: the data has an order and no clock"
            for n, s in task.statistics.items()
            if s.within is not None
        ]
    if task.clock is None:
        if task.split is not None and task.split.by in ("time", "last"):
            problems.append(f"split.by: {task.split.by} needs a time; split by subject or file")
        problems += [
            f"statistics.{n}: needs a time" for n, s in task.statistics.items() if not s.bm25
        ]
    if len(given) == 1:
        problems += [*_held_out_files(task), *_held_out_fields(task)]
    return problems


def _held_out_fields(task: TaskKeys) -> list[str]:
    """Fields of a split that rows cannot be told by."""
    split = task.split
    if split is None or split.field is None:
        return []
    root = split.field.partition(".")[0]
    if root == "context":
        return []
    refs = {key.rpartition(".")[2]: ref for key, ref in task.refs().items() if "events" not in key}
    ref = refs.get(root)
    if ref is None or ref.table is None:
        what = f"there is no {root}" if ref is None else f"{root} names no table"
        return [f"split.field: {split.field}: {what}"]
    own_events = task.history is not None and task.history.events is not None
    if own_events and root not in ("item", "member"):
        return [f"split.field: {split.field}: history.events says nothing of it; take item.NAME"]
    return []


def _held_out_files(task: TaskKeys) -> list[str]:
    """Files that a split names and the source does not read."""
    split, path = task.split, task.source.path
    if split is None or split.by != "file" or split.column:
        return []
    paths = [path] if isinstance(path, str) else list(path or ())
    known = ", ".join(map(repr, paths)) or "none, it is a query; name a column"
    return [
        f"split.{name}: {named!r} is none of {task.form}.path: {known}"
        for name, named in (("test", split.test), ("valid", split.valid))
        if named is not None and named not in paths
    ]


def _references(task: TaskKeys) -> list[str]:
    problems = []
    for where, ref in task.refs().items():
        if ref.table is not None and ref.table not in task.tables:
            known = ", ".join(task.tables) or "none"
            problems.append(f"{where}: no table {ref.table!r}; tables: {known}")
    if task.item_table is None:
        problems.append(f"{task.item_key}: must name a table of items")
    history = task.history
    if history is not None:
        if not task.has_member:
            problems.append("history: needs a member")
        if history.events is None and task.judgements is not None:
            problems.append("history.events: judgements hold no history; say where events are")
        if history.as_ == "turns" and history.build == "similar":
            problems.append("history.build: similar picks turns by what came later; use a list")
        if history.question is not None and history.question not in task.questions:
            problems.append(f"history.question: no question {history.question!r}")
    for name, stat in task.statistics.items():
        if stat.of == "member" and not task.has_member:
            problems.append(f"statistics.{name}.of: there is no member")
        if stat.bm25 is not None:
            problems += [f"statistics.{name}.bm25: {why}" for why in _unmatchable(task)]
        if stat.above is not None:
            below = task.statistics.get(stat.above)
            if below is None or not below.plain:
                problems.append(
                    f"statistics.{name}.above: {stat.above!r} is no statistic that has a mean "
                    "and none of above, by and percentile"
                )
    label = task.label
    if isinstance(label, dict):
        for name in label:
            if name not in task.questions:
                problems.append(f"{task.form}.label.{name}: no such question")
    return problems


def _unmatchable(task: TaskKeys) -> list[str]:
    """Why no words can be matched with an item's."""
    roles = {where.rpartition(".")[2] for where in task.refs()}
    if not roles & {"query", "source"}:
        return ["needs a query or a source, whose words it looks for"]
    items = task.tables.get(task.item_table or "")
    if items is not None and items.valid_from is not None:
        return [
            f"tables.{task.item_table} has valid_from, and words are counted over the whole "
            "table; leave one of the two out"
        ]
    return []


def _uncalibratable(task: TaskKeys) -> list[str]:
    """A calibration's log-odds must order candidates as the decoder's score does."""
    if task.fusion is None or task.fusion.by == "logistic":
        return []
    question = next(iter(task.questions.values()))
    two = len(task.questions) == 1 and len(question.answers) == 2
    if two and question.score != "log_likelihood":
        return []
    return [
        f"fusion.by: {task.fusion.by} needs one question of two answers, scored as expected or "
        "log_odds; use fields, which go with any"
    ]


def _scores(task: TaskKeys) -> list[str]:
    if task.fused and task.fusion is None:
        return [
            "score: fused needs fusion.fields, the numbers beside the decoder's, or fusion.by, "
            "such as platt, to calibrate without any"
        ]
    problems = _uncalibratable(task)
    for field in task.fusion.fields if task.fusion is not None else ():
        root, _, name = field.partition(".")
        if root == "stats" and name not in task.statistics:
            known = ", ".join(task.statistics) or "none"
            problems.append(f"fusion.fields: no statistic {name!r}; statistics: {known}")
    where, expression = "score", task.score
    if task.fusion is not None and task.fused:
        where, expression = "fusion.score", task.fusion.score
    if expression is None:
        if len(task.questions) > 1:
            problems.append(f"{where}: say how the questions combine, such as 0.8*apply + 0.2*view")
        return problems
    try:
        used = names_in(expression)
    except ValueError as error:
        return [*problems, f"{where}: {error}"]
    unknown = sorted(used - set(task.questions))
    problems += [f"{where}: no question {n!r}" for n in unknown]
    kinds = {task.questions[n].score for n in used - set(unknown)}
    if len(kinds) > 1:
        names = ", ".join(sorted(kinds))
        problems.append(f"{where}: questions of different kinds do not mix ({names})")
    return problems


def _columns(task: TaskKeys) -> list[str]:
    answers = {name: question.answers for name, question in task.questions.items()}
    problems = [f"questions.{name}: {why}" for name, why in shared_columns(answers)]
    if FUSED in task.questions:
        why = f"score: {FUSED} means something else; rename it"
        problems.append(f"questions.{FUSED}: {why}")
    return problems


def _steps(task: TaskKeys) -> list[str]:
    below = None
    for name, question in task.questions.items():
        if question.score != "expected":
            below = f"the score of {name} is a logarithm and may be below 0"
        elif any(answer.value < 0 for answer in question.answers.values()):
            below = f"an answer to {name} has a value below 0"
    if "-" in task.score_expression:
        below = "the task's score subtracts and may be below 0"
    if task.fused:
        below = "a fused score is log-odds and may be below 0"
    return list(problems_of_steps(task.steps or [], below_zero=below))
