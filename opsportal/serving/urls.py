from django.urls import path

from opsportal.serving import views

urlpatterns = [
    path("", views.serving, name="serving"),
    path("pill/", views.pill, name="serving-pill"),
]
