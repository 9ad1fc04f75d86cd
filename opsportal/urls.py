"""Every address of the portal; each app brings its own."""

from django.contrib import admin
from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView

from opsportal.core import views

handler400 = "opsportal.core.views.bad_request"
handler403 = "opsportal.core.views.permission_denied"
handler404 = "opsportal.core.views.not_found"
handler500 = "opsportal.core.views.server_error"

urlpatterns = [
    path("", include("opsportal.home.urls")),
    path("account/", include("opsportal.accounts.urls")),
    path("admin/", admin.site.urls),
    path("api/v1/", include("opsportal.audits.api.urls")),
    path("api/v1/", include("opsportal.explanations.api.urls")),
    path("api/v1/", include("opsportal.overrides.api.urls")),
    path("api/v1/", include("opsportal.predictions.api.urls")),
    path("api/v1/", include("opsportal.serving.api.urls")),
    path("api/schema/", SpectacularAPIView.as_view(), name="api-schema"),
    path("audits/", include("opsportal.audits.urls")),
    path("explain/", include("opsportal.explanations.urls")),
    path("healthz", views.healthz, name="healthz"),
    path("models/", include("opsportal.explanations.model_urls")),
    path("overrides/", include("opsportal.overrides.urls")),
    path("readyz", views.readyz, name="readyz"),
    path("serving/", include("opsportal.serving.urls")),
]
