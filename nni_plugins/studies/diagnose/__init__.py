"""Why a differentiable search goes as it goes. Importing this package imports no torch."""
