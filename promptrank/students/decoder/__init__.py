"""``decoder``: a decoder with fewer layers."""
