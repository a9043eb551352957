"""Methods: how a request is asked about. One file each; `pointwise` is the one that exists."""
