from django.urls import path

from opsportal.serving import views

urlpatterns = [
    path("", views.serving, name="serving"),
    path("outbox/<int:message_id>/retry/", views.retry, name="serving-retry"),
    path("pill/", views.pill, name="serving-pill"),
    path("rebuild/", views.rebuild, name="serving-rebuild"),
]
