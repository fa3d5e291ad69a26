"""Result files of one or many runs -> answer, tables, figures. Needs NumPy and matplotlib, never JAX."""
