"""What a ranker needs to obey the portal: the decision engine and a reader of the serving store.

Standard library and redis only; nothing of Django or of the portal's apps.
"""

from opsportal.client.engine import (
    Decision,
    Explanation,
    Ranked,
    Ranking,
    Rule,
    Verdict,
    decide,
    explain,
    parse_rules,
    personalize,
    rank,
)
from opsportal.client.reader import (
    SCHEMA,
    DirectReader,
    Reading,
    StoreError,
    StoreHead,
    StoreNotReady,
    StoreUnavailable,
    ThresholdReading,
)
from opsportal.client.thresholds import Threshold, parse_thresholds

__all__ = [
    "SCHEMA",
    "Decision",
    "DirectReader",
    "Explanation",
    "Ranked",
    "Ranking",
    "Reading",
    "Rule",
    "StoreError",
    "StoreHead",
    "StoreNotReady",
    "StoreUnavailable",
    "Threshold",
    "ThresholdReading",
    "Verdict",
    "decide",
    "explain",
    "parse_rules",
    "parse_thresholds",
    "personalize",
    "rank",
]
