"""What studies leave for people: documents, figures, tables. Importing this package imports no torch."""
