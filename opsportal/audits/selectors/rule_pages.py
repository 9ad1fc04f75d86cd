"""What the pages of rules show: suggestions with their evidence, rules with their state, a rule's life."""

from dataclasses import dataclass

from opsportal.audits.conditions import parse
from opsportal.audits.decisions import Decisions
from opsportal.audits.figures import Figure
from opsportal.audits.models import Application, Item, Rule, Run, Search, Stream, Suggestion
from opsportal.audits.proof import bound_text
from opsportal.audits.selectors.plotting import Scale, Shown, scale_of, show
from opsportal.audits.selectors.rules import dictionary_of, label_choices
from opsportal.core.components import Step
from opsportal.core.errors import Conflict, PortalError
from opsportal.predictions.dictionary import FeatureDictionary
from opsportal.predictions.models import Model, Prediction

_EXAMPLE_TEXT = 400
_State = Application.State
_BADGES: dict[str, tuple[str, str]] = {
    _State.WAITING: ("waiting", "Waiting for approval"),
    _State.REJECTED: ("failed", "Rejected"),
    _State.APPLYING: ("publishing", "Being applied"),
    _State.VERIFYING: ("waiting", "Acceptance sample"),
    _State.ACCEPTED: ("live", "Accepted"),
    _State.REVERTING: ("publishing", "Being reverted"),
    _State.REVERTED: ("ended", "Reverted"),
}


@dataclass(frozen=True, slots=True)
class ListedRule:
    """A rule with its newest application and its state. low: which precision is proven, in words."""

    rule: Rule
    application: Application | None
    badge: tuple[str, str]
    words: str
    label: str
    low: str
    changes: int | None


@dataclass(frozen=True, slots=True)
class ListedSuggestion:
    """A suggestion, and what the half that it was tested on shows. plot: of its error rate there."""

    suggestion: Suggestion
    label: str
    matches: int
    errors: int
    rate: Shown
    outside: float | None
    p_adjusted: str
    rule: Rule | None


@dataclass(frozen=True, slots=True)
class Found:
    """What a search in a run's errors brought. search: None where none was made yet."""

    run: Run
    search: Search | None
    suggestions: list[ListedSuggestion]
    scale: Scale


@dataclass(frozen=True, slots=True)
class Example:
    """A prediction that a rule is true of. said: what people say; empty where nobody labelled it."""

    prediction_id: str
    url: str
    text: str
    predicted: str
    said: str


def words_of(rule: Rule) -> str:
    """The rule's condition in plain English; one that cannot be read any more says why."""
    return _words(rule, _known(rule.model)[1])


def badge_of(rule: Rule, application: Application | None) -> tuple[str, str]:
    """Kind and words of the rule's state."""
    if rule.retired_at is not None:
        return "ended", "Retired"
    if application is not None and application.state in _BADGES:
        kind, text = _BADGES[application.state]
        # A change after its end begins a new life.
        if application.ended_at is None or application.terms.get("version") == rule.version:
            return kind, text
    if rule.preview_wanted_at is not None:
        return "publishing", "Being previewed"
    precision = rule.preview.get("precision")
    if precision is None:
        return "failed", "Cannot be previewed"
    if precision["low"] >= rule.bar:
        return "model", "Proven"
    return "neutral", "Not proven"


def newest_application(rule: Rule) -> Application | None:
    """The rule's newest application with its people and its sample; None before the first. One query."""
    rows = Application.objects.filter(rule=rule).select_related("author", "decided_by", "acceptance")
    return rows.order_by("-pk").first()


def listed_rules(*, most: int = 200) -> list[ListedRule]:
    """The newest rules; three queries and two for each model."""
    rules = list(Rule.objects.select_related("model", "author").order_by("-pk")[:most])
    newest: dict[int, Application] = {}
    for application in Application.objects.filter(rule__in=[rule.pk for rule in rules]).order_by("pk"):
        newest[application.rule_id] = application
    titles: dict[int, dict[str, str]] = {}
    dictionaries: dict[int, FeatureDictionary | None] = {}
    found = []
    for rule in rules:
        if rule.model_id not in titles:
            titles[rule.model_id], dictionaries[rule.model_id] = _known(rule.model)
        dictionary = dictionaries[rule.model_id]
        latest = newest.get(rule.pk)
        precision = rule.preview.get("precision")
        found.append(
            ListedRule(
                rule=rule,
                application=latest,
                badge=badge_of(rule, latest),
                words=_words(rule, dictionary),
                label=titles[rule.model_id].get(rule.label, rule.label),
                low=bound_text(precision["low"]) if precision else "",
                changes=rule.preview.get("changes"),
            )
        )
    return found


def _known(model: Model) -> tuple[dict[str, str], FeatureDictionary | None]:
    try:
        return dict(label_choices(model)), dictionary_of(model)
    except Conflict:
        return {}, None


def _words(rule: Rule, dictionary: FeatureDictionary | None) -> str:
    if dictionary is None:
        return ""
    try:
        return parse(rule.condition, dictionary).words
    except PortalError as error:
        return f"(it cannot be read: {error.message})"


def searched_runs(run_id: int | None, *, most: int = 3) -> list[Found]:
    """What was found in one run, or in the newest that were searched."""
    runs = Run.objects.filter(kind=Run.Kind.AUDIT, state=Run.State.CLOSED).select_related("model", "search")
    if run_id is not None:
        runs = runs.filter(pk=run_id)
    else:
        runs = runs.filter(search__isnull=False)
    return [_found(run) for run in runs.order_by("-pk")[:most]]


def _found(run: Run) -> Found:
    suggestions = list(Suggestion.objects.filter(run=run).order_by("pk"))
    figures = [_held_out_rate(suggestion) for suggestion in suggestions]
    scale = scale_of(figures)
    titles = {str(label["value"]): str(label.get("title") or label["value"]) for label in run.labels}
    made = {
        rule.suggestion_id: rule
        for rule in Rule.objects.filter(suggestion__in=[suggestion.pk for suggestion in suggestions])
    }
    return Found(
        run=run,
        search=getattr(run, "search", None),
        suggestions=[
            ListedSuggestion(
                suggestion=suggestion,
                label=titles.get(suggestion.label, suggestion.label),
                matches=suggestion.evidence["held_out"]["matches"],
                errors=suggestion.evidence["held_out"]["errors"],
                rate=show(figure, scale, reference=suggestion.evidence["held_out"]["rate_outside"]),
                outside=suggestion.evidence["held_out"]["rate_outside"],
                p_adjusted=_p_text(suggestion.evidence["p_adjusted"]),
                rule=made.get(suggestion.pk),
            )
            for suggestion, figure in zip(suggestions, figures, strict=True)
        ],
        scale=scale,
    )


def _p_text(p: float) -> str:
    return f"{p:.4f}" if p >= 0.0001 else "below 0.0001"


def _held_out_rate(suggestion: Suggestion) -> Figure:
    half = suggestion.evidence["held_out"]
    return Figure(
        name=suggestion.words,
        value=half["rate"],
        low=half["low"],
        high=half["high"],
        n=half["matches"],
        formula="Weighted share of errors among held-out labels that match; Wilson on the effective size",
        source="Wilson, JASA 22, 1927",
    )


def precision_of(rule: Rule) -> tuple[Shown, Scale] | None:
    """The precision that the preview estimates, drawn on a scale with the bar; None where there is none."""
    precision = rule.preview.get("precision")
    if not precision or not precision["n"]:
        return None
    figure = Figure(
        name="Precision",
        value=precision["share"],
        low=precision["low"],
        high=precision["high"],
        n=precision["n"],
        n_effective=precision["effective"],
    )
    bar = Figure(name="Bar", value=rule.bar, low=rule.bar, high=rule.bar)
    scale = scale_of([figure, bar])
    return show(figure, scale, reference=rule.bar), scale


def steps_of(rule: Rule, application: Application | None) -> list[Step]:
    """The rule's life as a stepper: written, previewed, approved, applied, accepted."""
    steps = [Step("Written", "done", rule.author.username, rule.created_at)]
    if application is None or (
        application.ended_at is not None and application.terms.get("version") != rule.version
    ):
        busy = rule.preview_wanted_at is not None
        steps.append(
            Step(
                "Previewed",
                "now" if busy else "done" if rule.previewed_at else "failed",
                "",
                rule.previewed_at,
            )
        )
        return [*steps, Step("Applied", "todo"), Step("Accepted", "todo")]
    state = application.state
    steps.append(Step("Previewed", "done"))
    if application.needs_approval:
        decided = application.decided_by.username if application.decided_by else ""
        if state == _State.WAITING:
            steps.append(Step("Approved", "waiting", "by a second person"))
        elif state == _State.REJECTED:
            steps.append(Step("Rejected", "failed", decided, application.ended_at))
        else:
            steps.append(Step("Approved", "done", decided, application.decided_at))
    applied = "now" if state == _State.APPLYING else "done" if application.applied_at else "todo"
    if state != _State.REJECTED:
        steps.append(Step("Applied", applied, "", application.applied_at))
    match state:
        case _State.VERIFYING:
            steps.append(Step("Accepted", "waiting", "sample being labelled"))
        case _State.ACCEPTED:
            steps.append(Step("Accepted", "done", "", application.ended_at))
        case _State.REVERTING:
            steps.append(Step("Being reverted", "now"))
        case _State.REVERTED:
            steps.append(Step("Reverted", "failed", "", application.ended_at))
        case _State.WAITING | _State.APPLYING:
            steps.append(Step("Accepted", "todo"))
    return steps


def examples_of(rule: Rule, which: str) -> list[Example]:
    """Predictions of the preview by chance: `for` the rule, `against` it, or `changes` (unlabelled).

    Whoever shows them records the look first. Those that were erased meanwhile are left out.
    """
    ids: list[str] = rule.preview.get("examples", {}).get(which, [])
    logged = {row.prediction_id: row for row in Prediction.objects.filter(prediction_id__in=ids)}
    items: dict[str, Item] = {}
    if which != "changes":
        judged = Item.objects.filter(
            prediction_id__in=ids, run__state=Run.State.CLOSED, stream=Stream.SAMPLE
        ).exclude(label="")
        items = {item.prediction_id: item for item in judged.order_by("run_id")}
    decisions: dict[int, Decisions] = {}
    found = []
    for prediction_id in ids:
        row, item = logged.get(prediction_id), items.get(prediction_id)
        if row is None and item is None:
            continue
        predicted = item.predicted if item else ""
        if row is not None and not item:
            if row.version_id not in decisions:
                decisions[row.version_id] = Decisions(row.version)
            predicted = decisions[row.version_id].predicted(row.label, row.score)
        content = item or row
        assert content is not None  # noqa: S101  one of the two is there
        found.append(
            Example(
                prediction_id=prediction_id,
                url=row.get_absolute_url() if row else "",
                text=content.text[:_EXAMPLE_TEXT] or content.features[:_EXAMPLE_TEXT],
                predicted=predicted,
                said=item.label if item else "",
            )
        )
    return found
