"""Fuzzing: for each surface inputs without end, and what promptrank may make of them.

An input is either taken or refused with one sentence (an `InputError`). Everything else is a fault:
a traceback or a dead interpreter, no answer within the limit, or something taken that nobody gave
(`Invented`). ``bench/fuzz.py`` runs surfaces for as long as one likes; ``tests/test_fuzz.py`` a
fixed number of inputs of each.
"""
