"""torch's threads: as many as were asked for, and never more than there are cores to run them."""

import torch

from promptrank.engine.cores import cores


def set_threads(threads: int | None) -> None:
    """Set torch's threads, for the whole process.

    Args:
        threads: None leaves torch's own choice, which goes by the cores (or by OMP_NUM_THREADS)
            and knows nothing of a container's limit; that one is kept here.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    elif torch.get_num_threads() > cores():
        torch.set_num_threads(cores())
