"""``nni-plugins rank-study``: how well one-shot evaluation ranks architectures."""
