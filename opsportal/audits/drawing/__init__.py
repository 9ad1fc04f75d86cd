"""Draw the sample of a run, from the prediction log or straight from files. For workers and commands only.

`steps` holds the bodies of the tasks. The package itself loads nothing, for whoever only looks around.
"""
