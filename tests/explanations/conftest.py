"""A worker that is always there at once."""

import pytest

import opsportal.explanations.engine  # noqa: F401  before anybody imports shap: see there
from opsportal.events import outbox
from opsportal.explanations.models import Explanation
from opsportal.explanations.services import asking


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for an explanation gets it computed meanwhile, in this process."""

    def compute_meanwhile(explanation: Explanation, *, seconds: float = 0) -> Explanation:
        if not explanation.settled:
            outbox.drain(lane="explanations.")
            explanation.refresh_from_db()
        return explanation

    monkeypatch.setattr(asking, "wait_for", compute_meanwhile)
