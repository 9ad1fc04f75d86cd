"""Models: the list, the upload, and the page of one version."""

from dataclasses import dataclass

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from opsportal.accounts.access import needs
from opsportal.core.errors import Forbidden, NotFound, PortalError
from opsportal.core.http import Request, takes_uploads
from opsportal.explanations.forms_models import RegisterForm
from opsportal.explanations.selectors.dependence import dependence_choices, dependence_of
from opsportal.explanations.selectors.importance import (
    ByDay,
    Importance,
    by_day,
    importance_of,
    profiles_of,
)
from opsportal.explanations.selectors.model_drawing import Drawing, drawing_of
from opsportal.explanations.selectors.model_versions import VersionFacts, version_facts, version_of
from opsportal.explanations.selectors.models import ModelCard, model_cards, model_names
from opsportal.explanations.services import measuring
from opsportal.predictions.dictionary import FeatureDictionary
from opsportal.predictions.models import ModelVersion
from opsportal.predictions.services.registering import register_model

BARS_SHOWN, SERIES_SHOWN = 12, 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelsPage:
    """The list. only: the model whose versions are all shown, empty for every model."""

    cards: list[ModelCard]
    only: str
    may_write: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NewModelPage:
    """The upload form. names: models that are there, to choose from."""

    form: RegisterForm
    names: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionPage:
    """One version. importance: None before any was computed. chosen: the feature whose effect is drawn."""

    version: ModelVersion
    dictionary: FeatureDictionary
    facts: VersionFacts
    importance: Importance | None
    days: ByDay | None
    choices: tuple[tuple[str, str], ...]
    chosen: str
    drawing: Drawing | None
    bars_shown: int
    series_shown: int
    may_write: bool
    may_see_predictions: bool

    @property
    def is_checking(self) -> bool:
        """Whether a worker still has to say what the file is good for."""
        return self.version.state == ModelVersion.State.CHECKING

    @property
    def predictions_url(self) -> str:
        """The look-up, narrowed to this version."""
        return f"{reverse('explain')}?model={self.version.model.name}&version={self.version.version}"


@require_safe
@needs("models.view")
def models(request: Request) -> HttpResponse:
    only = request.GET.get("model", "")
    cards = model_cards(only)
    if only and not cards:
        raise NotFound("There is no such model.")
    page = ModelsPage(cards=cards, only=only, may_write=request.user.can("models.write"))
    return render(request, "models/models.html", {"page": page})


def _upload_limit() -> int:
    """The model's file beside background rows."""
    return int(settings.MODEL_MAX_BYTES + settings.CSV_MAX_BYTES)


@require_http_methods(["GET", "HEAD", "POST"])
@needs("models.write")
@takes_uploads(_upload_limit)
def new(request: Request) -> HttpResponse:
    if request.method != "POST":
        initial = {"name": request.GET.get("model", "")}
        return _new_page(request, RegisterForm(initial=initial))
    form = RegisterForm(request.POST, request.FILES)
    if not form.is_valid():
        return _new_page(request, form, status=400)
    given = form.cleaned_data
    rows = given.pop("background")
    try:
        version = register_model(
            actor=request.user, background=rows.read() if rows is not None else None, **given
        )
    except Forbidden:
        raise
    except PortalError as error:
        form.show_refusal(error)
        return _new_page(request, form, status=error.status)
    return redirect(version)


@require_safe
@needs("models.view")
def version(request: Request, name: str, version: str) -> HttpResponse:
    """Everything about a version. While it is being checked, the page asks for itself every second."""
    row = version_of(name, version)
    dictionary = row.features
    overall, days = profiles_of(row)
    dependence = None
    choices = dependence_choices(overall, dictionary) if overall else ()
    asked = request.GET.get("feature", "")
    chosen = asked if asked in dict(choices) else choices[0][0] if choices else ""
    if overall and chosen:
        dependence = dependence_of(overall, dictionary, chosen)
    page = VersionPage(
        version=row,
        dictionary=dictionary,
        facts=version_facts(row, dictionary),
        importance=importance_of(overall, dictionary) if overall else None,
        days=by_day(overall, days, dictionary) if overall and days else None,
        choices=choices,
        chosen=chosen,
        drawing=drawing_of(dependence) if dependence else None,
        bars_shown=BARS_SHOWN,
        series_shown=SERIES_SHOWN,
        may_write=request.user.can("models.write"),
        may_see_predictions=request.user.can("predictions.view"),
    )
    return render(request, "models/version.html", {"page": page})


@require_POST
@needs("models.view", "models.write")
def measure(request: Request, name: str, version: str) -> HttpResponse:
    """Have the importance computed again."""
    row = version_of(name, version)
    measuring.want_importance(actor=request.user, version=row)
    messages.info(request, "The importance is being computed again.")
    return redirect(f"{row.get_absolute_url()}#importance")


def _new_page(request: Request, form: RegisterForm, *, status: int = 200) -> HttpResponse:
    page = NewModelPage(form=form, names=model_names())
    return render(request, "models/new.html", {"page": page}, status=status)
