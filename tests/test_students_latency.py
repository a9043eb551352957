"""Times are those of one core, and who times leaves threads as they were."""

import torch
from threadpoolctl import threadpool_info

from promptrank.records import Candidate, Item, Request, Subject
from promptrank.students.latency import times_of, wide_requests


def threads() -> tuple[int, list[int]]:
    pools = [p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"]
    return torch.get_num_threads(), pools


def test_one_thread_while_it_is_timed_and_as_many_as_before_afterwards() -> None:
    request = Request("r", Subject(), (Candidate("a", Item("a", {})),))
    (wide, *_) = wide_requests([request], 3)
    assert [c.candidate_id for c in wide.candidates] == ["a#0", "a#1", "a#2"]
    own = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        before, seen = threads(), []
        assert len(times_of(lambda _: seen.append(threads()), [wide], 2)) == 2
        assert {(one, *pools) for one, pools in seen} == {(1, *[1] * len(before[1]))}
        assert threads() == before
    finally:
        torch.set_num_threads(own)
