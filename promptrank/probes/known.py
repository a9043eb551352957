"""The probes there are, and the edits of those that are wanted. A new one is a line here."""

from collections.abc import Sequence
from dataclasses import dataclass

from promptrank.basics.hints import near
from promptrank.errors import InputError
from promptrank.probes.answers_reworded import ANSWERS
from promptrank.probes.context_lengths import CONTEXT
from promptrank.probes.edits import Edit, Probe, ProbedTask, refused
from promptrank.probes.instruction import INSTRUCTION
from promptrank.probes.override import SET
from promptrank.probes.sections import SECTIONS
from promptrank.probes.shuffling import CANDIDATES_SHUFFLED, HISTORY_SHUFFLED

PROBES = (
    INSTRUCTION,
    ANSWERS,
    HISTORY_SHUFFLED,
    CANDIDATES_SHUFFLED,
    SECTIONS,
    CONTEXT,
    SET,
)


@dataclass(frozen=True, slots=True)
class WantedProbe:
    """A probe that somebody named.

    Attributes:
        argument: what follows the colon, of a probe that takes something.
    """

    probe: Probe
    argument: str = ""

    @property
    def name(self) -> str:
        """As it was given."""
        return f"{self.probe.name}:{self.argument}" if self.argument else self.probe.name

    def edits(self, probed: ProbedTask) -> list[Edit]:
        """What it changes here.

        Raises:
            InputError: there is nothing to change.
        """
        return self.probe.edits(probed, self.argument)


def parse_probes(names: Sequence[str], *, prompts: bool) -> tuple[WantedProbe, ...]:
    """The probes of these names, each once.

    Args:
        prompts: whether what ranks takes prompts in other words.

    Raises:
        InputError: no probe of that name, or one that words prompts where nobody takes them.
    """
    made = tuple(_parsed(name) for name in dict.fromkeys(names))
    for wanted in made:
        if wanted.probe.prompts and not prompts:
            raise refused(
                wanted.name,
                "it changes the words of prompts, with which only a decoder can be asked, no "
                "student and no baseline",
            )
    return made


def _parsed(text: str) -> WantedProbe:
    for probe in PROBES:
        if probe.takes is None and text == probe.name:
            return WantedProbe(probe)
        name, _, argument = text.partition(":")
        if probe.takes is not None and name == probe.name:
            if not argument:
                raise refused(text, f"write {probe.name}:{probe.takes}")
            return WantedProbe(probe, argument)
    names = [p.name if p.takes is None else f"{p.name}:{p.takes}" for p in PROBES]
    raise InputError(f"--probe {text}: no such probe; {near(text, names)}")
