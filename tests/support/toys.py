"""A whole project in a folder: twelve people, twenty toys, CSV tables, a task and a template."""

import csv
from pathlib import Path

TASK = """\
domain: toys
template: toys/like.j2
model: {model}
tables:
  people: {{path: people.csv, key: person_id}}
  toys: {{path: toys.csv, key: toy_id}}
ratings:
  path: ratings.csv
  member: people
  item: toys
  time: at
  label: if(stars > 3, 'like', 'dislike')
  group: {{last: 5}}
history: {{last: 4}}
questions:
  like:
    ask: Will they like it?
    answers: {{like: {{say: Yes, value: 1}}, dislike: {{say: No, value: 0}}}}
split: {{by: last, test: 1, valid: 1}}
budget: {{tokens: 200, candidate: 80}}
"""

TEMPLATE = """\
{% block instruction %}You rank toys for a member.{% endblock %}
{% block subject %}Name: {{ member.name }}{% endblock %}
{% block event %}{{ event.action }}: {{ item.title }}{% endblock %}
{% block candidate %}
Toy: {{ item.title }}{% if item.color %}, {{ item.color }}{% endif %}
{% endblock %}
{% block question %}{{ question.ask }} Answer:{% endblock %}
"""

PEOPLE, TOYS, ROUNDS = 12, 20, 15


def write_rows(path: Path, rows: list[dict[str, object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def make_project(root: Path, model: Path, rounds: int = ROUNDS) -> Path:
    """A project with the task ``toys/like``; people with even numbers like even toys.

    Args:
        rounds: ratings of each of them.
    """
    (root / "tasks" / "toys").mkdir(parents=True)
    (root / "templates" / "toys").mkdir(parents=True)
    (root / "tasks/toys/like.yaml").write_text(TASK.format(model=model))
    (root / "templates/toys/like.j2").write_text(TEMPLATE)
    write_rows(
        root / "people.csv", [{"person_id": f"p{i}", "name": f"Person {i}"} for i in range(PEOPLE)]
    )
    colors = ("red", "blue", "")
    write_rows(
        root / "toys.csv",
        [{"toy_id": f"t{i}", "title": f"Toy {i}", "color": colors[i % 3]} for i in range(TOYS)],
    )
    write_rows(
        root / "ratings.csv",
        [
            {
                "person_id": f"p{p}",
                "toy_id": f"t{(p * 7 + r) % TOYS}",
                "at": 1_000_000 + 1000 * r + p,
                "stars": 5 if (p + p * 7 + r) % 2 == 0 else 2 + r % 2,
            }
            for p in range(PEOPLE)
            for r in range(rounds)
        ],
    )
    return root


def adapters_for(root: Path, model: Path, count: int) -> list[str]:
    """Adapters of the project with random weights, without cards; their names."""
    from transformers import AutoModelForCausalLM

    from support.engines import adapter

    names = [f"random-{seed}" for seed in range(count)]
    for seed, name in enumerate(names):
        spent = AutoModelForCausalLM.from_pretrained(model)
        adapter(spent, root / "adapters" / name, seed)
    return names
