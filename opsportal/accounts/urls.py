from django.urls import path

from opsportal.accounts import views

urlpatterns = [
    path("", views.account, name="account"),
    path("keys/", views.keys, name="accounts-keys"),
    path("keys/new/", views.key_new, name="accounts-key-new"),
    path("keys/<slug:key_id>/revoke/", views.key_revoke, name="accounts-key-revoke"),
    path("password/", views.password, name="accounts-password"),
    path("sign-in/", views.sign_in, name="accounts-sign-in"),
    path("sign-out/", views.sign_out, name="accounts-sign-out"),
    path("time-zone/", views.time_zone, name="accounts-time-zone"),
]
