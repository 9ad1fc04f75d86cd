"""What the demo trains, once for all tests of a process."""

import pytest

from opsportal.demo import training
from opsportal.demo.training import Trained


@pytest.fixture(scope="session")
def trained() -> dict[str, Trained]:
    """Every version that the demo trains, by `model version`."""
    found = {
        "titanic": training.train_titanic(),
        "credit": training.train_credit(),
        "clicks": training.train_clicks(),
        "reviews": training.train_reviews(),
    }
    return {f"{name} {version.version}": version for name, versions in found.items() for version in versions}
