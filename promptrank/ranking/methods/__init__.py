"""Methods: how a request is asked about. One file each; `pointwise` asks, and `direct` does not."""
