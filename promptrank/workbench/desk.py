"""What the pages work with: the tasks that are served, their files, and a way to rank a draft."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from promptrank.basics.hints import near
from promptrank.errors import InputError
from promptrank.ranking.ranker import Ranker
from promptrank.serve.hosted import Hosted, HostedTask
from promptrank.serve.refused import refuse
from promptrank.workbench.sessions import Sessions
from promptrank.workspace.drafts import TaskTexts, drafted, saved_texts, template_path
from promptrank.workspace.tasks import OpenTask

RankDraft = Callable[[OpenTask, str | None], Ranker]
"""A task, saved or drafted, and an adapter's folder -> what ranks it, over the server's runtime."""


@dataclass(frozen=True, slots=True)
class DeskTask:
    """A served task as somebody edits it.

    Attributes:
        opened: as the server was started with it; its files may have changed since.
        engine: as the command line names it.
        settings: ``--set`` overrides, which hold for drafts too.
        request_files: request files of the task that were there at the start.
    """

    opened: OpenTask
    engine: str = "packed"
    settings: Sequence[str] = ()
    request_files: tuple[Path, ...] = ()

    @property
    def name(self) -> str:
        """The task's."""
        return self.opened.name

    @property
    def words(self) -> bool:
        """Whether a decoder reads its template; students read fields."""
        return not self.engine.startswith("student:")

    @property
    def task_path(self) -> Path:
        """The YAML file."""
        return self.opened.place.path

    @property
    def template_path(self) -> Path:
        """The template's file.

        Raises:
            InputError: there is none.
        """
        return template_path(self.opened)

    def saved(self) -> TaskTexts:
        """What the two files hold now.

        Raises:
            InputError: one that cannot be read.
        """
        return saved_texts(self.opened)

    def drafted(self, texts: TaskTexts) -> OpenTask:
        """The task as these texts have it.

        Raises:
            TaskError: the task's text has problems.
        """
        return drafted(self.opened, texts, self.settings)


@dataclass(slots=True)
class Desk:
    """What all pages share.

    Attributes:
        hosted: the server's tasks, with the rankers that answer requests.
        tasks: by name, in the order of the command line.
        rank_draft: opens the ranker of a draft; close it after use.
        project: the folder of the server's project.
        read_only: nothing is written, whatever is asked for.
        sessions: of browsers that have shown a key; None where the server has no keys.
        navigation: (title, path) of the pages that there are.
    """

    hosted: Hosted
    tasks: Mapping[str, DeskTask]
    rank_draft: RankDraft
    project: Path
    read_only: bool = False
    sessions: Sessions | None = None
    navigation: Sequence[tuple[str, str]] = field(default=())

    def task(self, name: str | None) -> DeskTask:
        """The task of that name; the first one for None or an empty name.

        Raises:
            Refused: (404) no such task here.
        """
        if not name:
            return next(iter(self.tasks.values()))
        if name not in self.tasks:
            raise refuse(404, "no_such_task", f"no task {name!r} here; {near(name, self.tasks)}")
        return self.tasks[name]

    def draft_ranker(self, task: DeskTask, draft: OpenTask) -> Ranker:
        """What ranks a draft, under the adapter that ranks the task for everybody.

        Raises:
            Refused: the task is being loaded.
            InputError: the draft cannot be ranked with, or not by this server (`check_draft`).
        """
        self.check_draft(task, draft)
        return self.rank_draft(draft, self.served(task).ranker.adapter)

    def check_draft(self, task: DeskTask, draft: OpenTask) -> None:
        """Refuse what this server's model, as it is open, does not rank.

        Raises:
            Refused: the task is being loaded.
            InputError: another model, or prompts for which vLLM would have to start anew while
                everybody waits.
        """
        model = task.opened.task.model
        if draft.task.model != model:
            raise InputError(
                f"model: this server ranks with {model}; start one with {draft.task.model} to try "
                "it"
            )
        own, wanted = task.opened.task.budget.tokens, draft.task.budget.tokens
        if task.engine == "vllm" and own is not None:
            room = max(own, self.served(task).ranker.opened.info.max_tokens)
            if wanted is None or wanted > room:
                raise InputError(
                    f"budget.tokens: vllm has room for prompts of {room} tokens here; give so many "
                    "or fewer, or start a server with more to try it"
                )

    def served(self, task: DeskTask) -> HostedTask:
        """What ranks the task for everybody.

        Raises:
            Refused: (503) it is being loaded, or the server is ending.
        """
        return self.hosted.task(task.name)
