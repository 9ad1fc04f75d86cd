"""Samples of predictions, what people said about them, and what follows from it."""

from opsportal.audits.models.policies import Allocation, Period, Policy, Sizing, Source
from opsportal.audits.models.results import Correction, Estimate, Export, Provenance
from opsportal.audits.models.reviews import Decline, Label, Review
from opsportal.audits.models.rules import Application, Rule, Search, Suggestion
from opsportal.audits.models.runs import FrameFile, Item, Run, Stratum, Stream
from opsportal.audits.models.thresholds import Threshold

__all__ = [
    "Allocation",
    "Application",
    "Correction",
    "Decline",
    "Estimate",
    "Export",
    "FrameFile",
    "Item",
    "Label",
    "Period",
    "Policy",
    "Provenance",
    "Review",
    "Rule",
    "Run",
    "Search",
    "Sizing",
    "Source",
    "Stratum",
    "Stream",
    "Suggestion",
    "Threshold",
]
