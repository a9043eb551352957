"""How tests of planted truths train: full rank on a random decoder, in seconds."""

from promptrank.training.settings import Settings

# Validation is left out: nothing is stopped early, and all of it would be the test's time.
PLANTED = Settings(
    rank=64,
    alpha=64,
    lr=2e-3,
    epochs=3,
    batch=16,
    micro=16,
    prompt_weight=0.0,
    valid=0,
    every=10_000,
)
