"""Training of the ``sequence`` kind's network."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from promptrank.basics.arrays import Singles
from promptrank.basics.telling import Say
from promptrank.records import Request
from promptrank.students.lessons import Learning, LessonRows
from promptrank.students.scale import Scale, fit_scale
from promptrank.students.sequence.inputs import SequenceBatch, Shape
from promptrank.students.sequence.network import Network, layer_dropout
from promptrank.students.targets import Known, Loss, Target, judged_by, targets

_SGD_RATE = 5.0  # times Adam's


def learn(
    shape: Shape,
    batch_of: Callable[[Sequence[Request]], SequenceBatch],
    requests: Sequence[Request],
    rows: LessonRows,
    settings: Learning,
    options: Mapping[str, Any],
    say: Say,
) -> tuple[dict[str, Singles], dict[str, Scale], dict[str, Any]]:
    """Weights by name without the second output's, scales per question, facts for the card."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        second = settings.loss in ("auxiliary", "self-auxiliary")
        network = Network(shape, layer_dropout(options["dropout"], shape.layers), aux=second)
        fitted = _Fit(network, batch_of, requests, rows, settings, options)
        rate = options["learning_rate"]
        phases: list[tuple[str, torch.optim.Optimizer]] = [
            ("adam", torch.optim.AdamW(network.parameters(), rate, weight_decay=0.01))
        ]
        if options["optimizer"] == "adam_then_sgd":
            phases.append(("sgd", torch.optim.SGD(network.parameters(), _SGD_RATE * rate)))
        epochs = {name: fitted.run(name, optimizer, say) for name, optimizer in phases}
    weights = {
        name: tensor.numpy().copy()
        for name, tensor in network.state_dict().items()
        if not name.startswith("aux.")
    }
    return weights, fitted.scales, {"epochs": epochs, "valid_loss": fitted.best}


class _Fit:
    def __init__(
        self,
        network: Network,
        batch_of: Callable[[Sequence[Request]], SequenceBatch],
        requests: Sequence[Request],
        rows: LessonRows,
        settings: Learning,
        options: Mapping[str, Any],
    ) -> None:
        self.network, self.batch_of, self.requests = network, batch_of, requests
        self.rows, self.settings, self.options = rows, settings, options
        sizes = np.bincount(rows.request, minlength=len(requests))
        self.starts = np.concatenate([[0], np.cumsum(sizes)])
        valid = np.array([r.split == "valid" for r in requests])
        self.train, self.valid = np.flatnonzero(~valid), np.flatnonzero(valid)
        self.random = np.random.default_rng(settings.seed)
        self.scales, self.aux_scales = {}, {}
        self.judge: dict[str, Loss] = {}
        trained, weighs = np.flatnonzero(~rows.valid), np.zeros(len(rows.valid), dtype=np.bool_)
        for name, known in rows.known.items():
            part = _take(known, trained)
            main, aux = targets(part, settings.loss, settings.alpha, part.labels)
            self.judge[name] = judged_by(part, _take(known, np.flatnonzero(rows.valid)))
            weighs[trained] |= (main.weight > 0) | ((aux or main).weight > 0)
            self.scales[name] = fit_scale(main, known.values)
            self.aux_scales[name] = fit_scale(aux or main, known.values)
        self.best: float | None = None
        self._clear(weighs)
        self.weights = _copy(network)

    def _clear(self, weighs: Any) -> None:
        """Zero the rows of tables that no row with weight reaches: training would never move them.

        Without a gradient Adam leaves a zero at zero.
        """
        words, ids, places = self.network.tables
        seen = {table: np.zeros(len(table.weight), dtype=np.bool_) for table in (words, ids)}
        longest = 0
        for chosen in self._batches(self.train):
            batch = self.batch_of([self.requests[i] for i in chosen])
            rows = weighs[self._at(chosen)]
            owners = np.isin(np.arange(len(chosen)), batch.request[rows])
            shared = batch.subject_words[owners], batch.event_words[owners]
            for buckets in (*shared, batch.words[rows]):
                seen[words][buckets.ravel()] = True
            for item_ids in (batch.event_ids[owners], batch.ids[rows]):
                seen[ids][item_ids.ravel()] = True
            longest = max(longest, int(batch.events[owners].max(initial=0)))
        with torch.no_grad():
            for table, flags in seen.items():
                table.weight[torch.from_numpy(~flags)] = 0
            places.weight[longest:] = 0

    def run(self, name: str, optimizer: torch.optim.Optimizer, say: Say) -> int:
        """One phase: epochs until ``valid`` no longer gains; ends with the best weights."""
        since, done = 0, 0
        for done in range(1, self.options["epochs"] + 1):
            self.network.train()
            for chosen in self._batches(self.random.permutation(self.train)):
                loss, weight = self._loss(chosen)
                if not weight:
                    continue
                optimizer.zero_grad()
                (loss / weight).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            valid_loss = self._validate()
            if valid_loss is None or self.best is None or valid_loss < self.best:
                self.best, self.weights, since = valid_loss, _copy(self.network), 0
            else:
                since += 1
            shown = "" if valid_loss is None else f", loss on valid {valid_loss:.4f}"
            say(f"{name}, epoch {done}{shown}")
            if since >= self.options["patience"]:
                break
        self.network.load_state_dict(self.weights)
        return done

    def _batches(self, order: Any) -> Iterator[Any]:
        size = self.options["batch"]
        for start in range(0, len(order), size):
            yield order[start : start + size]

    def _at(self, chosen: Any) -> Any:
        """Rows of these requests."""
        return np.concatenate([np.arange(self.starts[i], self.starts[i + 1]) for i in chosen])

    def _loss(self, chosen: Any, *, judge: bool = False) -> tuple[Tensor, float]:
        """Summed cross-entropies of these requests, and the weight they have."""
        batch = self.batch_of([self.requests[i] for i in chosen])
        where = self._at(chosen)
        outputs, second = self.network(batch)
        total, weight = outputs.sum() * 0, 0.0
        for i, name in enumerate(self.scales):
            known = _take(self.rows.known[name], where)
            logs = _logs(self.scales[name], outputs[:, i])
            own = logs.detach().exp().numpy()
            loss, alpha = (self.settings.loss, self.settings.alpha)
            main, aux = targets(known, self.judge[name] if judge else loss, alpha, own)
            total = total + _cross_entropy(main, logs)
            weight += float(main.weight.sum())
            if aux is not None and second is not None:
                total = total + _cross_entropy(aux, _logs(self.aux_scales[name], second[:, i]))
                weight += 0.0 if main.weight.any() else float(aux.weight.sum())
        return total, weight

    def _validate(self) -> float | None:
        """Mean cross-entropy by `judged_by`; None where nothing of ``valid`` counts."""
        self.network.eval()
        total = weight = 0.0
        with torch.inference_mode():
            for chosen in self._batches(self.valid):
                loss, batch_weight = self._loss(chosen, judge=True)
                total += float(loss)
                weight += batch_weight
        return total / weight if weight else None


def _take(known: Known, where: Any) -> Known:
    return Known(known.labels[where], known.teacher[where], known.weight[where], known.values)


def _logs(scale: Scale, output: Tensor) -> Tensor:
    """`Scale.log_probabilities`, with gradients."""
    base = torch.tensor(scale.base, dtype=output.dtype)
    worth = torch.tensor(scale.worth, dtype=output.dtype)
    return torch.log_softmax(base + output[:, None] * worth, -1)


def _cross_entropy(target: Target, logs: Tensor) -> Tensor:
    answers = torch.tensor(target.answers, dtype=logs.dtype)
    weight = torch.tensor(target.weight, dtype=logs.dtype)
    return -(weight * (answers * logs).sum(-1)).sum()


def _copy(network: Network) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}
