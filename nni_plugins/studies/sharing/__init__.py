"""What weight sharing does to the ranking of recurrent cells. Importing this package imports no torch."""
