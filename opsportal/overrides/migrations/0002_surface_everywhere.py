from django.db import migrations


def add_everywhere(apps, schema_editor):
    apps.get_model("overrides", "Surface").objects.get_or_create(slug="*", defaults={"name": "Everywhere"})


class Migration(migrations.Migration):
    dependencies = [("overrides", "0001_submissions_and_overrides")]
    operations = [migrations.RunPython(add_everywhere, migrations.RunPython.noop)]
