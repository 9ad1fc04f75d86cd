"""What workers with loaded models do. Everything here runs on the queue `explain`, and nothing else does."""

from types import ModuleType

from celery import shared_task

from opsportal.events import outbox
from opsportal.explanations import warming  # noqa: F401  a worker that knows the tasks hears the signals


def _explaining() -> ModuleType:
    """The numeric half, loaded by the first task: whoever only imports this module stays light."""
    from opsportal.explanations import explaining  # noqa: PLC0415  see above

    return explaining


@shared_task(name="explanations.explain")
def explain(key: str) -> None:
    """Compute one explanation that somebody asked for."""
    outbox.deliver("explanations.explain", key, lambda: _explaining().explain(int(key)))


@shared_task(name="explanations.explain_stack")
def explain_stack(key: str) -> None:
    """Compute what a stack of predictions lacks."""
    outbox.deliver("explanations.explain_stack", key, lambda: _explaining().explain_stack(int(key)))


@shared_task(name="explanations.check_model")
def check_model(key: str) -> None:
    """Load a registered model's file and find out whether it fits its dictionary."""
    outbox.deliver("explanations.check_model", key, lambda: _explaining().check_model(int(key)))


@shared_task(name="explanations.profile")
def profile(key: str) -> None:
    """Compute the importance of a version's features."""
    outbox.deliver("explanations.profile", key, lambda: _explaining().profile(int(key)))


@shared_task(name="explanations.profile_all")
def profile_all() -> None:
    """Ask for the importance of every version that has new predictions."""
    _explaining().want_profiles()


@shared_task(name="explanations.drain")
def drain() -> None:
    """Run whatever is due and needs a model."""
    outbox.drain(lane="explanations.")
