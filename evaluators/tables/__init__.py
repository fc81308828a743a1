"""Tables of known results instead of trainings."""
