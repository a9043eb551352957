"""Which examples an epoch takes, and in which order."""

from collections.abc import Iterator, Sequence

import torch


class Draws(torch.utils.data.Sampler[int]):
    """Which examples an epoch takes, tasks in proportion to size ** (1 / temperature).

    An epoch has as many draws as there are examples. A task that gets more draws than it has
    examples goes through all of them again; one that gets fewer takes others each epoch.

    Args:
        multiple: draws that all processes take together; the last of an epoch are filled up with
            the index behind all examples, where a blank one stands.
    """

    def __init__(
        self, sizes: Sequence[int], temperature: float, seed: int, multiple: int = 1
    ) -> None:
        self._sizes, self._seed, self._epoch = sizes, seed, 0
        self._blanks = -sum(sizes) % multiple
        total = sum(sizes)
        wanted = [size ** (1 / temperature) for size in sizes]
        self.draws: list[int] = [round(total * w / sum(wanted)) for w in wanted]
        self.draws[self.draws.index(max(self.draws))] += total - sum(self.draws)

    def set_epoch(self, epoch: int) -> None:
        """Called by accelerate; the same epoch gives the same order."""
        self._epoch = epoch

    def __len__(self) -> int:
        return sum(self.draws) + self._blanks

    def __iter__(self) -> Iterator[int]:
        made = torch.Generator().manual_seed(self._seed * 100_003 + self._epoch)
        chosen: list[int] = []
        start = 0
        for size, count in zip(self._sizes, self.draws, strict=True):
            while count > 0:
                order = torch.randperm(size, generator=made)[:count]
                chosen += (order + start).tolist()
                count -= len(order)
            start += size
        order = torch.randperm(len(chosen), generator=made)
        return iter([chosen[i] for i in order.tolist()] + [start] * self._blanks)
