"""A quote form in Django that hands its leads to leadstream, in one file.

    pip install django
    LEADSTREAM_URL=http://127.0.0.1:8000 python quote_site.py runserver 8001

It takes the place of a view that saved a model and called `send_mails.delay()`: there is no task, no broker, no beat.
"""

import os
import sys

import django
from django import forms
from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import path
from leadstream_client import submit

settings.configure(
    DEBUG=True,
    SECRET_KEY=os.environ.get("SECRET_KEY", "for-development-only"),
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    MIDDLEWARE=["django.middleware.csrf.CsrfViewMiddleware"],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": False}],
    INSTALLED_APPS=["django.forms"],
)
django.setup()


class QuoteForm(forms.Form):
    """What a visitor fills in. leadstream checks it too, and says which field is wrong."""

    full_name = forms.CharField(max_length=200)
    email = forms.EmailField()
    phone_number = forms.CharField(max_length=64, required=False)
    state = forms.CharField(max_length=2, required=False)
    make = forms.CharField(max_length=64, required=False, label="Vehicle make")
    model = forms.CharField(max_length=64, required=False, label="Vehicle model")
    year = forms.IntegerField(min_value=1900, max_value=2100, required=False)

    def lead(self) -> dict:
        """The lead in leadstream's words."""
        data = {name: value for name, value in self.cleaned_data.items() if value}
        vehicle = {name: data.pop(name) for name in ("make", "model", "year") if name in data}
        return data | ({"vehicles": [vehicle]} if len(vehicle) == 3 else {}) | {"source": "django-example"}


def quote(request):
    """Shows the form, and hands in a good one."""
    form = QuoteForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            url = os.environ.get("LEADSTREAM_URL", "http://127.0.0.1:8000")
            submit(form.lead(), url=url, api_key=os.environ.get("LEADSTREAM_KEY", ""))
            return redirect("/thanks")
        except ValueError as error:
            for wrong in error.args[0].get("errors", []):
                name = wrong["field"].partition(".")[0]
                form.add_error(name if name in form.fields else None, wrong["message"])
    from django.middleware.csrf import get_token

    token = f'<input type="hidden" name="csrfmiddlewaretoken" value="{get_token(request)}">'
    return HttpResponse(f'<form method="post">{token}{form.as_p()}<button>Ask for quotes</button></form>')


def thanks(request):
    """The end of the form."""
    return HttpResponse("Thank you. You will hear from us in a minute.")


urlpatterns = [path("", quote), path("thanks", thanks)]

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
