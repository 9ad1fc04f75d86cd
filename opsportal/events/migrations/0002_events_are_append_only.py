from django.db import migrations

# PostgreSQL refuses every change of a written event. SQLite refuses edits only: a DELETE trigger
# would also stop the clean-up between tests, and a removal shows in the chain anyway.
POSTGRESQL = """
CREATE FUNCTION events_are_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'events are append-only';
END
$$;
CREATE TRIGGER events_are_append_only BEFORE UPDATE OR DELETE ON events_event
    FOR EACH ROW EXECUTE FUNCTION events_are_append_only();
"""
SQLITE = """
CREATE TRIGGER events_are_append_only BEFORE UPDATE ON events_event
BEGIN
    SELECT RAISE(ABORT, 'events are append-only');
END;
"""


def add_trigger(apps, schema_editor):
    schema_editor.execute(POSTGRESQL if schema_editor.connection.vendor == "postgresql" else SQLITE)


def remove_trigger(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP TRIGGER events_are_append_only ON events_event")
        schema_editor.execute("DROP FUNCTION events_are_append_only()")
    else:
        schema_editor.execute("DROP TRIGGER events_are_append_only")


class Migration(migrations.Migration):
    dependencies = [("events", "0001_audit_trail_and_revisions")]
    operations = [migrations.RunPython(add_trigger, remove_trigger)]
