"""How each kind of study is answered: one module for each method of xling_jax/study.py."""
