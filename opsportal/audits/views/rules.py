"""Rules: what errors have in common, the rules people wrote, and the life of one."""

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.forms import Form
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from opsportal.accounts.access import needs
from opsportal.audits.forms_rules import (
    ApplyForm,
    DecideForm,
    ListForm,
    RevertForm,
    RuleForm,
    initial_from,
    initial_of,
)
from opsportal.audits.models import Application, Rule, Suggestion
from opsportal.audits.proof import bound_text
from opsportal.audits.selectors.plotting import Scale, Shown
from opsportal.audits.selectors.rule_pages import (
    Example,
    Found,
    ListedRule,
    badge_of,
    examples_of,
    listed_rules,
    newest_application,
    precision_of,
    searched_runs,
    steps_of,
    words_of,
)
from opsportal.audits.selectors.rules import label_choices, rule_of, samples_of
from opsportal.audits.services import applying, previewing, rules
from opsportal.core.components import Step
from opsportal.core.errors import Conflict, Forbidden, NotFound, PortalError
from opsportal.core.http import Request
from opsportal.events.models import Event
from opsportal.events.selectors import timeline
from opsportal.predictions.models import Model, ModelVersion, Prediction
from opsportal.predictions.services.looking_up import note_viewed

SHOWN_EVENTS = 30
State = Application.State
_ICONS = {
    "rule.accepted": "live",
    "rule.applied": "check",
    "rule.approved": "approve",
    "rule.rejected": "reject",
    "rule.reverted": "undo",
    "rule.reverting": "undo",
    "rule.application_wanted": "waiting",
    "rule.application_withdrawn": "withdraw",
    "rule.changed": "edit",
    "rule.created": "plus",
    "rule.retired": "ended",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesPage:
    """The list. found: what was mined, of the run that the address names or of the newest ones."""

    rules: list[ListedRule]
    found: list[Found]
    run_id: int | None
    may_lead: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleFormPage:
    """A new rule, or a changed one. rule: None for a new one. suggestion: what it comes from."""

    form: RuleForm
    model: Model
    rule: Rule | None
    suggestion: Suggestion | None
    models: list[Model]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChooseModelPage:
    """Of which model the new rule is."""

    models: list[Model]


@dataclass(frozen=True, slots=True, kw_only=True)
class May:
    """What the person may do with the rule now."""

    edit: bool
    apply: bool
    decide: bool
    revert: bool
    see_examples: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RulePage:
    """One rule.

    words: its condition in English. label: as people read it. preview: what services.previewing stored, empty
    before. low: which precision is proven, in words. precision, scale: drawn, None where nothing is known.
    why_not: why it may not be applied; empty when it may. newer_labels: a sample was closed after the
    preview. needs_approval: applying it would need somebody else's word.
    """

    rule: Rule
    words: str
    label: str
    badge: tuple[str, str]
    steps: list[Step]
    application: Application | None
    preview: dict[str, Any]
    low: str
    precision: Shown | None
    scale: Scale | None
    why_not: str
    newer_labels: bool
    needs_approval: bool
    approval_min: int
    may: May
    apply_form: ApplyForm | None
    decide_form: DecideForm | None
    revert_form: RevertForm | None
    timeline: list[dict[str, Any]]

    @property
    def is_busy(self) -> bool:
        """Whether a worker is at it, so that the page asks again by itself."""
        at_work = {State.APPLYING, State.REVERTING}
        return self.rule.preview_wanted_at is not None or (
            self.application is not None and self.application.state in at_work
        )

    @property
    def has_preview(self) -> bool:
        """Whether there are figures to show."""
        return self.rule.previewed_at is not None and "precision" in self.preview


@dataclass(frozen=True, slots=True, kw_only=True)
class ExamplesPage:
    """Predictions by chance that the rule is true of."""

    rule: Rule
    words: str
    label: str
    for_it: list[Example]
    against: list[Example]
    changes: list[Example]


@require_safe
@needs("audits.view")
def rules_list(request: Request) -> HttpResponse:
    form = ListForm(request.GET)
    run_id = form.cleaned_data["run"] if form.is_valid() else None
    page = RulesPage(
        rules=listed_rules(),
        found=searched_runs(run_id),
        run_id=run_id,
        may_lead=request.user.can("audits.lead"),
    )
    return render(request, "audits/rules.html", {"page": page})


@require_http_methods(["GET", "HEAD", "POST"])
@needs("audits.lead")
def new(request: Request) -> HttpResponse:
    """The form of a new rule: from a suggestion, or of a model."""
    suggestion = _suggestion(request.GET.get("suggestion", ""))
    models = list(Model.objects.filter(versions__state=ModelVersion.State.READY).distinct().order_by("title"))
    name = request.GET.get("model", "")
    chosen = [model for model in models if model.name == name] or (models if len(models) == 1 else [])
    model = suggestion.run.model if suggestion else chosen[0] if chosen else None
    if model is None:
        return render(request, "audits/rule_model.html", {"page": ChooseModelPage(models=models)})
    if request.method != "POST":
        form = RuleForm(model=model, initial=initial_from(suggestion) if suggestion else {})
        return _form_page(request, form, model, suggestion=suggestion, models=models)
    if "add" in request.POST:
        form = _with_another_row(request, model)
        return _form_page(request, form, model, suggestion=suggestion, models=models)
    form = RuleForm(request.POST, model=model)
    if form.is_valid():
        try:
            rule = rules.create_rule(
                actor=request.user, model=model, terms=form.terms(), suggestion=suggestion
            )
        except Forbidden:
            raise
        except PortalError as error:
            form.show_refusal(error)
        else:
            messages.success(request, "The rule is written. What it would do is being found out.")
            return redirect(rule)
    return _form_page(request, form, model, suggestion=suggestion, models=models, status=400)


@require_safe
@needs("audits.view")
def rule(request: Request, rule_id: int) -> HttpResponse:
    return _rule_page(request, rule_of(rule_id))


@require_http_methods(["GET", "HEAD", "POST"])
@needs("audits.lead")
def edit(request: Request, rule_id: int) -> HttpResponse:
    row = rule_of(rule_id)
    if request.method != "POST":
        initial = initial_of(row)
        if initial is None:
            messages.info(request, "This condition is too long for a form. Write a new rule instead.")
            return redirect(row)
        return _form_page(request, RuleForm(model=row.model, initial=initial), row.model, rule=row)
    if "add" in request.POST:
        return _form_page(request, _with_another_row(request, row.model), row.model, rule=row)
    form = RuleForm(request.POST, model=row.model)
    status = 400
    if form.is_valid():
        try:
            rules.change_rule(
                actor=request.user,
                rule=row,
                version=form.cleaned_data["version"] or 0,
                terms=form.terms(),
            )
        except Forbidden:
            raise
        except PortalError as error:
            form.show_refusal(error)
            status = error.status
        else:
            return redirect(row)
    return _form_page(request, form, row.model, rule=row, status=status)


@require_safe
@needs("audits.view", "predictions.view")
def examples(request: Request, rule_id: int) -> HttpResponse:
    """Single predictions, so whoever looks is recorded first."""
    row = rule_of(rule_id)
    ids = [one for some in row.preview.get("examples", {}).values() for one in some]
    if ids:
        note_viewed(
            actor=request.user,
            predictions=Prediction.objects.filter(prediction_id__in=ids).only("pk"),
            how=f"Looked at examples of the rule “{row.title}”",
        )
    page = ExamplesPage(
        rule=row,
        words=words_of(row),
        label=_title(row),
        for_it=examples_of(row, "for"),
        against=examples_of(row, "against"),
        changes=examples_of(row, "changes"),
    )
    return render(request, "audits/rule_examples.html", {"page": page})


@require_POST
@needs("audits.lead")
def preview(request: Request, rule_id: int) -> HttpResponse:
    row = rule_of(rule_id)
    return _do(request, row, lambda: previewing.want_preview(actor=request.user, rule=row))


@require_POST
@needs("audits.lead")
def retire(request: Request, rule_id: int) -> HttpResponse:
    row = rule_of(rule_id)
    return _do(request, row, lambda: rules.retire_rule(actor=request.user, rule=row))


@require_POST
@needs("audits.lead")
def apply(request: Request, rule_id: int) -> HttpResponse:
    row = rule_of(rule_id)
    form = ApplyForm(request.POST)
    if not form.is_valid():
        return _rule_page(request, row, apply_form=form, status=400)
    try:
        applying.apply_rule(actor=request.user, rule=row, **form.cleaned_data)
    except Forbidden:
        raise
    except PortalError as error:
        _refuse(form, error)
        return _rule_page(request, row, apply_form=form, status=error.status)
    return redirect(row)


@require_POST
@needs("audits.approve")
def decide(request: Request, rule_id: int) -> HttpResponse:
    """Approve, or with the other button reject."""
    row = rule_of(rule_id)
    form = DecideForm(request.POST)
    if not form.is_valid():
        return _rule_page(request, row, decide_form=form, status=400)
    application = _application(row, form.cleaned_data["application"])
    verb = applying.reject_application if "reject" in request.POST else applying.approve_application
    try:
        verb(actor=request.user, application=application, comment=form.cleaned_data["comment"])
    except Forbidden:
        raise
    except PortalError as error:
        _refuse(form, error)
        return _rule_page(request, row, decide_form=form, status=error.status)
    return redirect(row)


@require_POST
@needs("audits.lead")
def revert(request: Request, rule_id: int) -> HttpResponse:
    row = rule_of(rule_id)
    form = RevertForm(request.POST)
    if not form.is_valid():
        return _rule_page(request, row, revert_form=form, status=400)
    application = _application(row, form.cleaned_data["application"])
    try:
        applying.revert_application(
            actor=request.user, application=application, reason=form.cleaned_data["reason"]
        )
    except Forbidden:
        raise
    except PortalError as error:
        _refuse(form, error)
        return _rule_page(request, row, revert_form=form, status=error.status)
    return redirect(row)


def _do(request: Request, row: Rule, verb: Any) -> HttpResponse:
    try:
        verb()
    except Conflict as refused:
        messages.error(request, refused.message)
    return redirect(row)


def _refuse(form: Form, error: PortalError) -> None:
    for problem in error.errors:
        form.add_error(problem.path if problem.path in form.fields else None, problem.message)
    if not error.errors:
        form.add_error(None, error.message)


def _suggestion(text: str) -> Suggestion | None:
    if not text:
        return None
    found = None
    if text.isascii() and text.isdigit() and len(text) < 19:
        found = Suggestion.objects.select_related("run__model").filter(pk=int(text)).first()
    if found is None:
        raise NotFound("There is no such suggestion.")
    return found


def _application(row: Rule, pk: int) -> Application:
    found = Application.objects.filter(rule=row, pk=pk).first()
    if found is None:
        raise NotFound("There is no such application.")
    return found


def _with_another_row(request: Request, model: Model) -> RuleForm:
    """The form as it was typed with one more row, and without a word about what is missing yet."""
    typed = RuleForm(request.POST, model=model, more_rows=1)
    initial = {name: typed[name].value() for name in typed.fields}
    return RuleForm(model=model, initial={**initial, "rows": typed.count})


def _form_page(
    request: Request,
    form: RuleForm,
    model: Model,
    *,
    rule: Rule | None = None,
    suggestion: Suggestion | None = None,
    models: list[Model] | None = None,
    status: int = 200,
) -> HttpResponse:
    page = RuleFormPage(form=form, model=model, rule=rule, suggestion=suggestion, models=models or [])
    return render(request, "audits/rule_form.html", {"page": page}, status=status)


def _rule_page(
    request: Request,
    row: Rule,
    *,
    apply_form: ApplyForm | None = None,
    decide_form: DecideForm | None = None,
    revert_form: RevertForm | None = None,
    status: int = 200,
) -> HttpResponse:
    user = request.user
    application = newest_application(row)
    state = application.state if application else ""
    idle = state not in rules.UNDER_WAY and row.retired_at is None
    why_not = applying.why_not(row) if idle else ""
    lead = user.can("audits.lead")
    may = May(
        edit=lead and idle,
        apply=lead and idle and not why_not,
        decide=bool(
            application
            and state == State.WAITING
            and user.can("audits.approve")
            and application.author_id != user.pk
        ),
        revert=lead and state in {State.WAITING, State.APPLYING, State.VERIFYING, State.ACCEPTED},
        see_examples=user.can("predictions.view"),
    )
    drawn = precision_of(row)
    given = {"application": application.pk if application else 0}
    page = RulePage(
        rule=row,
        words=words_of(row),
        label=_title(row),
        badge=badge_of(row, application),
        steps=steps_of(row, application),
        application=application,
        preview=row.preview,
        low=bound_text(row.preview["precision"]["low"]) if drawn else "",
        precision=drawn[0] if drawn else None,
        scale=drawn[1] if drawn else None,
        why_not=why_not,
        newer_labels=row.previewed_at is not None
        and samples_of(row.model).filter(closed_at__gt=row.previewed_at).exists(),
        needs_approval=row.preview.get("changes", 0) >= settings.AUDIT_RULE_APPROVAL_MIN,
        approval_min=settings.AUDIT_RULE_APPROVAL_MIN,
        may=may,
        apply_form=apply_form or (ApplyForm(initial={"version": row.version}) if may.apply else None),
        decide_form=decide_form or (DecideForm(initial=given) if may.decide else None),
        revert_form=revert_form or (RevertForm(initial=given) if may.revert else None),
        timeline=[_entry(event) for event in timeline("rule", row.pk)[:SHOWN_EVENTS]],
    )
    return render(request, "audits/rule.html", {"page": page}, status=status)


def _title(row: Rule) -> str:
    try:
        return dict(label_choices(row.model)).get(row.label, row.label)
    except Conflict:
        return row.label


def _entry(event: Event) -> dict[str, Any]:
    summary = event.summary
    return {
        "kind": _ICONS.get(event.verb, "neutral"),
        "actor": event.actor_name if event.actor_id else "",
        "text": summary[:1].lower() + summary[1:] if event.actor_id else summary,
        "at": event.at,
        "detail": f"“{event.reason}”" if event.reason else "",
    }
