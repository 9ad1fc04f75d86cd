"""One dispute after another: an audit lead decides between answers. The same screen, and the same script."""

from dataclasses import dataclass
from typing import Any

from django.http import Http404, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_POST, require_safe

from opsportal.accounts.access import needs
from opsportal.audits import forms_review as forms
from opsportal.audits.models import Run
from opsportal.audits.selectors import review_page as selectors
from opsportal.audits.services import adjudicating, reviewing
from opsportal.audits.services.reviewing import Claim
from opsportal.audits.views.review import (
    in_json,
    note_revealed,
    number,
    revealed,
    starts_blurred,
    wants_json,
)
from opsportal.core.errors import Conflict
from opsportal.core.http import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class AdjudicatePage:
    """The screen. run, shown: None when nothing is disputed. sides: the answers, without names.

    waiting: how many disputes there are in all open runs. sitting: this lead's own pace.
    """

    run: Run | None
    shown: selectors.Shown | None
    sides: list[selectors.Side]
    choices: list[selectors.Choice]
    waiting: int
    sitting: selectors.Sitting
    recent: list[selectors.Said]
    blurred: bool


@require_safe
@needs("audits.lead")
def adjudicate(request: Request) -> HttpResponse:
    """The next dispute, of the run that the address names, else of any. Looking leases it, as in review."""
    claim = _claim(request)
    run = claim.run if claim else None
    page = AdjudicatePage(
        run=run,
        shown=_as_shown(request, claim) if claim else None,
        sides=selectors.sides(claim.item, claim.run) if claim else [],
        choices=selectors.choices(run) if run else [],
        waiting=selectors.disputes_waiting(),
        sitting=selectors.sitting_of(request.user, None, adjudicates=True),
        recent=_recent(request),
        blurred=starts_blurred(request, run),
    )
    return render(request, "audits/adjudicate.html", {"page": page})


def _claim(request: Request) -> Claim | None:
    held = adjudicating.held(actor=request.user)
    if taken_back := request.GET.get("review", ""):
        kept = next((claim for claim in held if claim.review_id == number(taken_back)), None)
        if kept is not None:
            return kept
    if held:
        reviewing.release(actor=request.user, tokens=[claim.token for claim in held])
    run = None
    if text := request.GET.get("run", ""):
        run = Run.objects.filter(pk=number(text)).first()
        if run is None:
            raise Http404
    return adjudicating.claim_dispute(actor=request.user, run=run)


def _as_shown(request: Request, claim: Claim) -> selectors.Shown:
    """Whether the run is blind or not, nobody decides between people with the model's answer in view."""
    return selectors.show(
        token=claim.token,
        review_id=claim.review_id,
        leased_until=claim.leased_until,
        item=claim.item,
        run=claim.run,
        hides_model=True,
        earlier=selectors.withdrawn_answer(request.user, claim.review_id),
    )


@require_POST
@needs("audits.lead")
@in_json
def next_disputes(request: Request) -> HttpResponse:
    """Lease a further dispute of the same run, for the script to hold."""
    wanted = forms.read(forms.NextForm(request.POST))
    run = Run.objects.filter(pk=wanted["run"]).first()
    if run is None:
        raise Http404
    if not wants_json(request):
        return redirect("audits-adjudicate")
    return JsonResponse({"items": _fragments(request, run, wanted["want"] or 1)})


@require_POST
@needs("audits.lead")
@in_json
def decide(request: Request) -> HttpResponse:
    """Decide what a disputed item is."""
    given = forms.read(forms.DecisionForm(request.POST))
    try:
        label = adjudicating.decide(actor=request.user, **given)
    except Conflict as error:
        if wants_json(request):
            raise
        page = {"words": given["value"] or selectors.CANNOT_TELL, "note": given["note"], "why": error.message}
        return render(request, "audits/adjudicate_late.html", {"page": page}, status=error.status)
    if not wants_json(request):
        return redirect("audits-adjudicate")
    want = forms.wanted(request.POST)
    items = _fragments(request, label.run, want) if want else []
    return JsonResponse({**_panel(request, label.run), "label": label.pk, "items": items})


@require_POST
@needs("audits.lead")
@in_json
def undo(request: Request) -> HttpResponse:
    """Take back one's own decision; the dispute is in one's hands again."""
    label_id = forms.read(forms.LabelForm(request.POST))["label"]
    if label_id in revealed(request) and selectors.own_label(request.user, label_id, adjudicates=True):
        raise Conflict(
            "The model’s answer was shown for this one, so your decision stays: another would not be blind.",
            code="revealed",
        )
    claim = adjudicating.undo(actor=request.user, label_id=label_id)
    if not wants_json(request):
        url = reverse("audits-adjudicate")
        return redirect(f"{url}?{urlencode({'review': claim.review_id})}")
    return JsonResponse({**_panel(request, claim.run), "items": [_fragment(request, claim)]})


@require_POST
@needs("audits.lead")
@in_json
def reveal(request: Request) -> HttpResponse:
    """Show what the model said of an item that one has decided; the decision then stays as it is."""
    label_id = forms.read(forms.LabelForm(request.POST))["label"]
    label = selectors.own_label(request.user, label_id, adjudicates=True)
    if label is None:
        raise Http404
    note_revealed(request, label_id)
    if not wants_json(request):
        return redirect("audits-adjudicate")
    words = selectors.in_words(label.run, label.item.predicted)
    return JsonResponse({**_panel(request, label.run), "said": f"The model said {words}."})


def _fragments(request: Request, run: Run, want: int) -> list[str]:
    """At most one: leads are few, and a dispute that lies in a drawer helps nobody."""
    if not want or selectors.fresh(run).state != Run.State.OPEN:
        return []
    claim = adjudicating.claim_dispute(actor=request.user, run=run)
    return [_fragment(request, claim)] if claim else []


def _fragment(request: Request, claim: Claim) -> str:
    context = {"shown": _as_shown(request, claim), "sides": selectors.sides(claim.item, claim.run)}
    return render_to_string("audits/review_item.html", context, request=request)


def _recent(request: Request) -> list[selectors.Said]:
    return selectors.said(adjudicating.recent(actor=request.user), revealed(request), hides_model=True)


def _panel(request: Request, run: Run) -> dict[str, str]:
    context: dict[str, Any] = {
        "waiting": selectors.disputes_waiting(),
        "sitting": selectors.sitting_of(request.user, None, adjudicates=True),
        "recent": _recent(request),
        "run": run,
        "undo_to": "audits-adjudicate-undo",
        "reveal_to": "audits-adjudicate-reveal",
    }
    return {
        name: render_to_string(f"audits/{template}.html", context, request=request)
        for name, template in (("progress", "adjudicate_progress"), ("recent", "review_recent"))
    }
