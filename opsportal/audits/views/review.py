"""One item after another: the review screen, and what its buttons send.

Every button is a plain form that leads back to the screen. Scripts send the same forms and ask for JSON:
they paint the next item from memory, so each answer brings the item after the next one with it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from django.http import Http404, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_POST, require_safe

from opsportal.accounts.access import needs
from opsportal.audits import forms_review as forms
from opsportal.audits.models import Decline, Run
from opsportal.audits.selectors import review_page as selectors
from opsportal.audits.services import reviewing
from opsportal.audits.services.reviewing import Claim
from opsportal.core.errors import Conflict, PortalError
from opsportal.core.http import Request
from opsportal.core.problems import problem_body, problem_response

P = ParamSpec("P")
# Labels whose model's answer was asked for; kept in the session, newest last.
_REVEALED = "audits-revealed"
_REVEALED_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewPage:
    """The screen. run: None when nobody asks this person. shown: None when nothing is left for them there.

    others: further runs with work for this person. elsewhere: open runs where others hold what is left.
    sitting: their own pace. blurred: whether texts start blurred. reasons: why an item may be skipped.
    """

    run: Run | None
    shown: selectors.Shown | None
    choices: list[selectors.Choice]
    sitting: selectors.Sitting
    recent: list[selectors.Said]
    others: list[Run]
    elsewhere: list[Run]
    coming: list[selectors.Coming]
    disputes: int
    blurred: bool
    reasons: list[tuple[str, str]]

    @property
    def keys(self) -> str:
        """The digits of the labels, as the help names them: 1 2 3."""
        return " ".join(choice.key for choice in self.choices if choice.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class LatePage:
    """An answer that came too late, kept in words. may_send: whether the item may still need it."""

    run: Run | None
    words: str
    value: str
    note: str
    token: str
    why: str
    may_send: bool


def in_json(
    view: Callable[Concatenate[Request, P], HttpResponse],
) -> Callable[Concatenate[Request, P], HttpResponse]:
    """Say refusals in JSON where JSON was asked for; elsewhere they become pages, as everywhere."""

    @wraps(view)
    def spoken(request: Request, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        try:
            return view(request, *args, **kwargs)
        except PortalError as error:
            if not wants_json(request):
                raise
            return problem_response(error)

    return spoken


def wants_json(request: Request) -> bool:
    """Whether the page's script asks."""
    return request.headers.get("Accept") == "application/json"


# -- The screen -------------------------------------------------------------------------------


@require_safe
@needs("audits.label")
def review(request: Request) -> HttpResponse:
    """The next item for this person. Looking leases it: that changes nothing and ends by itself.

    What they held is handed back first, and of the same run comes again under a new token: a reload keeps
    the item, and the beacon of the page that was left releases nothing that is in view.
    """
    queue = selectors.queue_of(request.user)
    run = _asked_run(request) or next(iter(queue.ready), None)
    shown = _claim(request, run) if run and run.state == Run.State.OPEN else None
    page = ReviewPage(
        run=run,
        shown=shown,
        choices=selectors.choices(run) if run else [],
        sitting=selectors.sitting_of(request.user, run),
        recent=_recent(request),
        others=[other for other in queue.ready if other != run],
        elsewhere=queue.elsewhere,
        coming=[] if shown else selectors.coming(request.user),
        disputes=selectors.disputes_waiting() if request.user.can("audits.lead") else 0,
        blurred=starts_blurred(request, run),
        reasons=Decline.Reason.choices,
    )
    return render(request, "audits/review.html", {"page": page})


def _asked_run(request: Request) -> Run | None:
    """The run that the address names; 404 for one that does not ask this person."""
    text = request.GET.get("run", "")
    if not text:
        return None
    run = selectors.run_to_review(request.user, number(text))
    if run is None or run.state in {Run.State.DRAWING, Run.State.FAILED, Run.State.CANCELLED}:
        raise Http404
    return run


def number(text: str) -> int:
    """A row's number as an address or form names it; 404 for anything else."""
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise Http404
    return int(text)


def _claim(request: Request, run: Run) -> selectors.Shown | None:
    taken_back = request.GET.get("review", "")
    held = reviewing.held(actor=request.user)
    if taken_back:
        kept = next((claim for claim in held if claim.review_id == number(taken_back)), None)
        if kept is not None:
            return as_shown(request, kept, again=True)
    if held:
        reviewing.release(actor=request.user, tokens=[claim.token for claim in held])
    claims = reviewing.claim(actor=request.user, run=run)
    return as_shown(request, claims[0]) if claims else None


def as_shown(request: Request, claim: Claim, *, again: bool = False) -> selectors.Shown:
    """The claimed item as it is shown. again: it was answered before and taken back."""
    return selectors.show(
        token=claim.token,
        review_id=claim.review_id,
        leased_until=claim.leased_until,
        item=claim.item,
        run=claim.run,
        hides_model=claim.run.blind,
        earlier=selectors.withdrawn_answer(request.user, claim.review_id) if again else None,
    )


def starts_blurred(request: Request, run: Run | None) -> bool:
    """What the person chose last; else sensitive runs start blurred and others do not."""
    chosen = request.COOKIES.get("blur", "")
    return chosen == "on" if chosen in {"on", "off"} else bool(run and run.sensitive)


def revealed(request: Request) -> list[int]:
    """Of which of their answers this person has asked what the model said."""
    return list(request.session.get(_REVEALED, []))


def note_revealed(request: Request, label_id: int) -> None:
    """Remember that the model's answer was shown for this label, for as long as the session lasts."""
    seen = [*revealed(request), label_id]
    request.session[_REVEALED] = seen[-_REVEALED_MAX:]


def _recent(request: Request) -> list[selectors.Said]:
    labels = reviewing.recent(actor=request.user, limit=selectors.RECENT_MAX)
    return selectors.said(labels, revealed(request))


# -- What its buttons send --------------------------------------------------------------------


@require_POST
@needs("audits.label")
@in_json
def next_items(request: Request) -> HttpResponse:
    """Lease up to two further items of a run, for the script to hold."""
    wanted = forms.read(forms.NextForm(request.POST))
    run = selectors.run_to_review(request.user, wanted["run"])
    if run is None:
        raise Http404
    if not wants_json(request):
        return _to_screen(run)
    return JsonResponse({"items": _fragments(request, run, wanted["want"] or 1)})


@require_POST
@needs("audits.label")
@in_json
def answer(request: Request) -> HttpResponse:
    """Label an item. A lost lease answers 409 and gives the answer back in words."""
    given = forms.read(forms.AnswerForm(request.POST))
    try:
        label = reviewing.answer(actor=request.user, **given)
    except Conflict as error:
        return _late(request, given, error)
    return _went_on(request, label.run, label=label.pk)


@require_POST
@needs("audits.label")
@in_json
def send_anyway(request: Request) -> HttpResponse:
    """Send a late answer: it counts if the item still needs one."""
    given = forms.read(forms.AnswerForm(request.POST))
    try:
        label = reviewing.send_anyway(actor=request.user, **given)
    except Conflict as error:
        return _late(request, given, error, may_send=False)
    return _went_on(request, label.run, label=label.pk)


@require_POST
@needs("audits.label")
@in_json
def skip(request: Request) -> HttpResponse:
    """Pass an item over: this person is not asked about it again."""
    run = reviewing.skip(actor=request.user, **forms.read(forms.SkipForm(request.POST))).item.run
    return _went_on(request, run)


@require_POST
@needs("audits.label")
@in_json
def undo(request: Request) -> HttpResponse:
    """Take back one's own answer; the item is in one's hands again."""
    label_id = forms.read(forms.LabelForm(request.POST))["label"]
    label = selectors.own_label(request.user, label_id)
    if label is not None and label.run.blind and label_id in revealed(request):
        raise Conflict(
            "The model’s answer was shown for this one, so your answer stays: another would not be blind.",
            code="revealed",
        )
    claim = reviewing.undo(actor=request.user, label_id=label_id)
    if not wants_json(request):
        return _to_screen(claim.run, review=claim.review_id)
    shown = as_shown(request, claim, again=True)
    return JsonResponse({**panel(request, claim.run), "items": [fragment(request, shown)]})


@require_POST
@needs("audits.label")
@in_json
def reveal(request: Request) -> HttpResponse:
    """Show what the model said of an item that one has labelled; the label then stays as it is."""
    label_id = forms.read(forms.LabelForm(request.POST))["label"]
    label = selectors.own_label(request.user, label_id)
    if label is None:
        raise Http404
    note_revealed(request, label_id)
    if not wants_json(request):
        return _to_screen(label.run)
    words = selectors.in_words(label.run, label.item.predicted)
    return JsonResponse({**panel(request, label.run), "said": f"The model said {words}."})


@require_POST
@needs("audits.label")
@in_json
def renew(request: Request) -> HttpResponse:
    """The page's heartbeat: which of its items are still its own, and for how many seconds."""
    held = reviewing.renew(actor=request.user, tokens=forms.tokens(request.POST))
    return JsonResponse({"held": held, "seconds": int(reviewing.LEASE.total_seconds())})


@require_POST
@needs("audits.label")
@in_json
def release(request: Request) -> HttpResponse:
    """Hand items back: sent when the page is left."""
    reviewing.release(actor=request.user, tokens=forms.tokens(request.POST))
    return HttpResponse(status=204)


# -- Answers ----------------------------------------------------------------------------------


def _went_on(request: Request, run: Run, *, label: int | None = None) -> HttpResponse:
    """On to the next item; a script gets the items it has room for, and what changed around them."""
    if not wants_json(request):
        return _to_screen(run)
    want = forms.wanted(request.POST)
    items = _fragments(request, run, want) if want else []
    return JsonResponse({**panel(request, run), "label": label, "items": items})


def _to_screen(run: Run, **more: Any) -> HttpResponse:
    return redirect(f"{reverse('audits-review')}?{urlencode({'run': run.pk, **more})}")


def _fragments(request: Request, run: Run, want: int) -> list[str]:
    if selectors.fresh(run).state != Run.State.OPEN:
        return []
    try:
        claims = reviewing.claim(actor=request.user, run=run, count=want)
    except Conflict:  # closed just now, or a tab of another run holds two: the screen goes and looks
        return []
    return [fragment(request, as_shown(request, claim)) for claim in claims]


def fragment(request: Request, shown: selectors.Shown) -> str:
    """The item's part of the page, as the page itself has it."""
    return render_to_string("audits/review_item.html", {"shown": shown}, request=request)


def panel(request: Request, run: Run) -> dict[str, str]:
    """The two parts of the page that every answer changes: progress with pace, and the last answers."""
    context = {
        "run": selectors.fresh(run),
        "sitting": selectors.sitting_of(request.user, run),
        "recent": _recent(request),
    }
    return {
        name: render_to_string(f"audits/review_{name}.html", context, request=request)
        for name in ("progress", "recent")
    }


def _late(
    request: Request, given: dict[str, Any], error: Conflict, *, may_send: bool | None = None
) -> HttpResponse:
    """409 with the answer kept. Only a lost lease leaves a way to send it."""
    if may_send is None:
        may_send = error.code == "lease_lost"
    if wants_json(request):
        return JsonResponse({**problem_body(error), "may_send": may_send}, status=error.status)
    run = selectors.run_to_review(request.user, number(request.POST.get("run") or "0"))
    page = LatePage(
        run=run,
        words=selectors.in_words(run, given["value"]) if run else given["value"] or selectors.CANNOT_TELL,
        value=given["value"],
        note=given["note"],
        token=given["token"],
        why=error.message,
        may_send=may_send,
    )
    return render(request, "audits/review_late.html", {"page": page}, status=error.status)
