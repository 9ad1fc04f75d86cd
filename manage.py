#!/usr/bin/env python
"""Run a management command of the portal: `python manage.py help` lists them."""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "opsportal.settings")
    if sys.argv[1:2] == ["demo"]:
        # The settings refuse to start without secrets; the demo makes its own, once per clone.
        from opsportal.demo.environment import prepare

        prepare()
    execute_from_command_line(sys.argv)
