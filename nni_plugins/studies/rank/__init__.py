"""How well one-shot evaluation ranks architectures. Importing this package imports no torch."""
