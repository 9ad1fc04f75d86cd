"""The numbers: loads a model's file and explains rows. Workers only; it knows neither Django nor HTTP.

This package and nothing else imports numpy, shap, lime, scikit-learn and the boosters (a lint contract
and a test of the import graph hold web processes to that).
"""
