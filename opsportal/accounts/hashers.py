"""How passwords are hashed."""

from django.contrib.auth.hashers import Argon2PasswordHasher


class ModestArgon2Hasher(Argon2PasswordHasher):
    """Argon2id with OWASP's second parameter set: 19 MiB, 2 rounds, 1 lane.

    Django's default takes 100 MiB per sign-in, so that a burst of sign-ins would exhaust a small machine.
    """

    memory_cost = 19_456
    time_cost = 2
    parallelism = 1
