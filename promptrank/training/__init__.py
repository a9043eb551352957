"""Training of LoRA adapters: requests to labelled trees, losses at answer slots, one Trainer."""
