"""Published weights: a table of names for each family, and what reads and writes by it."""
