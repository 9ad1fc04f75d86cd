"""The numbers: loads a model's file and explains rows. Workers only; it knows neither Django nor HTTP.

This package and nothing else imports numpy, shap, lime, scikit-learn and the boosters (a lint contract
and a test of the import graph hold web processes to that).
"""

import os

# shap compiles its masks with numba at their first use, half a minute of it; as they are, they take
# milliseconds. Decided when shap is imported, so it is said here.
os.environ.setdefault("NUMBA_DISABLE_JIT", "1")
