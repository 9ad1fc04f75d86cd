"""The desired state of the serving store that audits own: the published thresholds of each model."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from urllib.parse import quote

from opsportal.audits.models import Threshold
from opsportal.predictions.selectors import batches


def desired_thresholds(keys: Sequence[str]) -> dict[str, str]:
    """What each model (by name) that has any published threshold serves: `version,value,since,id;…`.

    In the order of versions; `since` in epoch seconds. One query per 900 names.
    """
    rules: defaultdict[str, list[str]] = defaultdict(list)
    for batch in batches(keys):
        published = Threshold.objects.filter(
            state=Threshold.State.PUBLISHED, version__model__name__in=batch
        ).order_by("version_id")
        for name, version, value, since, pk in published.values_list(
            "version__model__name", "version__version", "value", "published_at", "id"
        ):
            # Both are there, the schema sees to that.
            if value is not None and since is not None:
                rules[name].append(threshold_text(version, value, since, pk))
    return {name: ";".join(found) for name, found in rules.items()}


def published_models() -> list[str]:
    """The names of the models that have a published threshold, sorted."""
    published = Threshold.objects.filter(state=Threshold.State.PUBLISHED)
    return sorted(set(published.values_list("version__model__name", flat=True)))


def threshold_text(version: str, value: float, since: datetime, pk: int) -> str:
    """A threshold as the store holds it. Separators in a version are encoded: `%2C`."""
    return f"{quote(version, safe='._+-')},{value!r},{int(since.timestamp())},{pk}"
