"""Keys, and a version to log predictions for."""

import pytest

from opsportal.predictions.models import ModelVersion
from tests.asking import Api, ApiOf
from tests.predictions.logging import scoring_version


@pytest.fixture
def api(api_of: ApiOf) -> Api:
    """The API with a key that may log and look up predictions."""
    return api_of("predictions:read", "predictions:write")


@pytest.fixture
def version(db: None) -> ModelVersion:
    """A ready version of the model `churn`."""
    return scoring_version()
