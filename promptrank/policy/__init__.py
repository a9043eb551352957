"""Policy: steps that filter, boost, diversify, cap, pin and explore, a file each."""
