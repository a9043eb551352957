"""Garbage during long work: looked for seldom, and as before afterwards."""

import gc
import weakref

import pytest

from promptrank.basics.collecting import seldom_collected


class _Ring:
    def __init__(self) -> None:
        self.itself = self


@pytest.mark.long
def test_settings_are_as_before_afterwards() -> None:
    threshold, frozen = gc.get_threshold(), gc.get_freeze_count()
    with pytest.raises(ZeroDivisionError), seldom_collected():
        assert gc.get_threshold()[0] > threshold[0] and gc.get_freeze_count() > 0
        raise ZeroDivisionError
    assert gc.get_threshold() == threshold and gc.get_freeze_count() == frozen == 0


def test_what_somebody_else_froze_stays() -> None:
    gc.freeze()
    try:
        with seldom_collected():
            pass
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


@pytest.mark.long
def test_of_several_at_once_the_last_puts_it_back() -> None:
    threshold = gc.get_threshold()
    first, second = seldom_collected(), seldom_collected()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert gc.get_threshold() != threshold and gc.get_freeze_count() > 0
    second.__exit__(None, None, None)
    assert gc.get_threshold() == threshold and gc.get_freeze_count() == 0


@pytest.mark.long
def test_cycles_go_in_the_end() -> None:
    with seldom_collected():
        ring = weakref.ref(_Ring())
        kept: list[dict[str, int]] = [{} for _ in range(200_000)]
        assert ring() is None, len(kept)
