"""``sequence``: a small self-attentive network over events."""
