"""Rankers that a team would build without a decoder, each in a file of its own.

`promptrank.baselines.listing` names them all and says what each knows. None is a foil: what a
decoder has to beat is the best of them, on the same candidates.
"""
