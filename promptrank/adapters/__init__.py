"""Adapters as folders: what they were trained on, how they are named, and whom they fit.

An adapter is a plain peft folder (`adapter_config.json`, `adapter_model.safetensors`) with a
`card.json` beside the weights. Nothing here loads a model, but `merge`.
"""
