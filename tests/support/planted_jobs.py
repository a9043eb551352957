"""A marketplace with planted truths, worded briefly for a tiny random decoder that has no words.

Every effect but the members' preferences is switched off, and a prompt is one word a fact: what a
model of a hundred thousand weights can learn in half a minute. Its base is random and stays so;
all that is known of jobs and members is in the adapters.
"""

from collections.abc import Sequence
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, set_seed

import promptrank
from promptrank.simulation import words
from promptrank.simulation.auc import expected_auc
from promptrank.simulation.switches import Switches

REGIONS = ("north", "east", "south", "west", "centre")
FLIPPED, SMALL = "west", "coast"

TASK = """\
domain: jobs
template: jobs/brief.j2
model: {model}
data: data/jobs
tables:
  members: {{path: members.parquet, key: member_id, valid_from: updated_at}}
  jobs: {{path: jobs.parquet, key: job_id, valid_from: updated_at}}
requests:
  path: impressions-{region}.parquet
  id: request_id
  time: shown_at
  subject: {{member: members}}
  candidate: {{id: impression_id, item: jobs, context: [distance_km]}}
outcomes:
  path: actions.parquet
  key: [request_id, impression_id]
  label: action
  time: acted_at
  within: 7d
  none: none
questions:
  apply:
    ask: "Applied:"
    answers:
      apply: {{say: "Yes", value: 1}}
      skip: {{say: "No", value: 0, labels: [view, dismiss, none]}}
split: {{by: time, test: 14d}}
metrics: [auc]
budget: {{tokens: 64, candidate: 32}}
"""

# Neither region nor town is told, nor the kind of company: without a history it says nothing.
TEMPLATE = """\
{% block subject %}
Member {{ member.level }} {{ member.licence }} {{ member.skills | join(" ") }}
{% endblock %}
{% block candidate %}
Job {{ item.level }}
{{ item.mode | replace(" ", "-") }}-{{ context.distance_km | bucket([20], ["near", "far"]) }}
{{ item.hours }} {{ item.licence }} {{ item.skills | join(" ") }}
{% endblock %}
{% block question %}
{{ question.ask }}
{% endblock %}
"""


def make_project(root: Path, members: int, seed: int = 0) -> Path:
    """A project with a marketplace, the tasks ``jobs/<region>`` and a random decoder."""
    switches = Switches(
        members=members,
        seed=seed,
        regions=len(REGIONS) + 1,
        flip=FLIPPED,
        position_bias=0,
        delay=0,
        false_negatives=0,
        hidden=0,
        affinity=0,
        cold=0,
    )
    data = promptrank.simulate_jobs(root / "data/jobs", switches).path
    impressions = pq.read_table(data / "impressions.parquet")
    (root / "tasks/jobs").mkdir(parents=True)
    (root / "templates/jobs").mkdir(parents=True)
    (root / "templates/jobs/brief.j2").write_text(TEMPLATE)
    model = make_model(root / "model", seed)
    for region in (*REGIONS, SMALL):
        mine = impressions.filter(pc.equal(impressions["region"], region))
        pq.write_table(mine, data / f"impressions-{region}.parquet")
        (root / f"tasks/jobs/{region}.yaml").write_text(TASK.format(model=model, region=region))
    return root


def make_model(path: Path, seed: int) -> Path:
    """A random two-layer Llama whose tokens are the words of the prompts."""
    places = [f"{m.replace(' ', '-')}-{d}" for m in words.MODES for d in ("near", "far")]
    licences = ["none", *(field.licence for field in words.FIELDS)]
    known = ["Member", "Job", "Applied:", "Yes", "No"]
    known += [*words.LEVELS, *places, *words.HOURS, *licences, *words.SKILLS]
    return word_model(path, known, seed)


def word_model(path: Path, known: Sequence[str], seed: int) -> Path:
    """A random two-layer Llama whose tokens are these words."""
    vocab = {word: i for i, word in enumerate(["<unk>", "<end>", *dict.fromkeys(known)])}
    core = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"unk_token": "<unk>", "eos_token": "<end>", "pad_token": "<end>"}
    PreTrainedTokenizerFast(tokenizer_object=core, **special).save_pretrained(path)
    config = LlamaConfig(
        vocab_size=len(vocab),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        initializer_range=0.11,
        tie_word_embeddings=False,
        dtype="float32",
        bos_token_id=None,
        eos_token_id=vocab["<end>"],
        pad_token_id=vocab["<end>"],
        max_position_embeddings=256,
    )
    set_seed(seed)
    model = LlamaForCausalLM(config).float()
    model.model.embed_tokens.weight.data.normal_()
    model.save_pretrained(path)
    return path


def best_auc(root: Path, scores: Path) -> float:
    """The AUC to be expected of the exact chances, on the candidates of a scores file."""
    chances = pq.read_table(
        root / "data/jobs/truth/impressions.parquet", columns=["impression_id", "p_apply"]
    )
    known = dict(zip(*(column.to_pylist() for column in chances.columns), strict=True))
    ids = pq.read_table(scores, columns=["candidate_id"])["candidate_id"].to_pylist()
    mine = [known[name] for name in ids]
    best = expected_auc(mine, mine)
    assert best is not None
    return best
