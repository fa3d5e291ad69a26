"""A seed that is another one in each run, beside those that stand in the tests.

It is part of a test's name; XLING_SEED=NUMBER runs the same again. It is drawn in the process that starts the others,
which all have to know the same tests.
"""

import os
import secrets

SEED = int(os.environ.setdefault("XLING_SEED", str(1000 + secrets.randbelow(10**6))))
