"""A toy shop whose labels follow the note in the instruction, for a tiny random decoder.

Two tasks over the same people and toys: ``toys/red`` says "prefer red" and there red toys are
liked, ``toys/blue`` says the same of blue ones. Each is worded with either greeting, so that what
is trained on both knows that the note decides and the greeting does not.
"""

import random
from pathlib import Path

import promptrank
from support.planted_jobs import word_model
from support.planted_settings import PLANTED
from support.toys import write_rows

COLORS = ("red", "blue")
GREETINGS = ("hello", "welcome")
SHAPES = ("ball", "cube", "kite", "drum", "boat", "top", "train", "puzzle")
WORDS = ["You", "prefer", "Toy", "Liked:", "Yes", "No", "Name", *COLORS, *GREETINGS, *SHAPES]
NAMES = [f"n{i}" for i in range(8)]

TASK = """\
domain: toys
template: notes.j2
model: {model}
vars: {{note: {note}, greeting: {greeting}}}
tables:
  people: {{path: people.csv, key: person_id}}
  toys: {{path: toys.csv, key: toy_id}}
ratings:
  path: ratings-{note}.csv
  member: people
  item: toys
  time: at
  label: verdict
  group: {{last: 6}}
questions:
  like:
    ask: "Liked:"
    answers: {{like: {{say: "Yes", value: 1}}, dislike: {{say: "No", value: 0}}}}
split: {{by: subject, test: 0.25}}
metrics: [auc, gauc]
budget: {{tokens: 64, candidate: 32}}
"""

TEMPLATE = """\
{% block instruction %}
{{ vars.greeting }} You prefer {{ vars.note }}
{% endblock %}
{% block subject %}
Name {{ member.name }}
{% endblock %}
{% block candidate %}
Toy {{ item.color }} {{ item.shape }}
{% endblock %}
{% block question %}
{{ question.ask }}
{% endblock %}
"""


def make_project(root: Path, people: int = 160, seed: int = 0) -> Path:
    """A project with the tasks ``toys/NOTE-GREETING`` and a random decoder."""
    draw = random.Random(seed)
    (root / "tasks/toys").mkdir(parents=True)
    (root / "templates").mkdir(parents=True)
    (root / "templates/notes.j2").write_text(TEMPLATE)
    model = word_model(root / "model", [*WORDS, *NAMES], seed)
    toys = [(color, shape) for color in COLORS for shape in SHAPES]
    write_rows(
        root / "people.csv",
        [{"person_id": f"p{i}", "name": draw.choice(NAMES)} for i in range(people)],
    )
    write_rows(
        root / "toys.csv",
        [{"toy_id": f"t{i}", "color": c, "shape": s} for i, (c, s) in enumerate(toys)],
    )
    for note in COLORS:
        rows: list[dict[str, object]] = [
            {
                "person_id": f"p{person}",
                "toy_id": f"t{toy}",
                "at": 1000 * person + place,
                "verdict": "like" if toys[toy][0] == note else "dislike",
            }
            for person in range(people)
            for place, toy in enumerate(draw.sample(range(len(toys)), 6))
        ]
        write_rows(root / f"ratings-{note}.csv", rows)
        for greeting in GREETINGS:
            task = TASK.format(model=model, note=note, greeting=greeting)
            (root / f"tasks/toys/{note}-{greeting}.yaml").write_text(task)
    return root


def trained(root: Path, name: str = "notes") -> str:
    """An adapter of all four tasks."""
    tasks = [f"toys/{note}-{greeting}" for note in COLORS for greeting in GREETINGS]
    promptrank.train(tasks, name, project=root, training=PLANTED)
    return name
