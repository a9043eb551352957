"""Every surface by name."""

from support.fuzz.files import Adapters, ScoreCaches, StoppedRuns, Students
from support.fuzz.surface import Surfaces
from support.fuzz.texts import CsvTables, RequestLines, SettingsGiven, TaskFiles, Templates

SURFACES: Surfaces = {
    "task": TaskFiles,
    "set": SettingsGiven,
    "template": Templates,
    "jsonl": RequestLines,
    "csv": CsvTables,
    "adapter": Adapters,
    "student": Students,
    "cache": ScoreCaches,
    "run": StoppedRuns,
}
