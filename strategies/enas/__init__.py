"""ENAS: a controller trained by REINFORCE. Importing this package imports no torch."""
