"""Whether pretext tasks rank architectures as labels do (Liu et al., ECCV 2020)."""
