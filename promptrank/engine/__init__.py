"""Engines: token ids in, log-probs of answer paths out (the contract is in ``contract``)."""
