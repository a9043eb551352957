"""Opened models, adapters and tokenizers, shared by all that asks something of them."""
