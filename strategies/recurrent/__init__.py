"""Searches of recurrent cells on text. Importing this package imports no torch."""
