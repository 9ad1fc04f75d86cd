"""Statements over whole sets of rows, for changes too large to carry through Python."""

from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connection, models
from django.db.models import Value


def insert_from(
    model: type[models.Model],
    source: "models.QuerySet[Any]",
    /,
    *,
    update_on: tuple[str, ...] = (),
    **values: Any,
) -> int:
    """INSERT INTO `model` one row per row of `source`; return how many rows were written.

    values: field name → a constant, or an expression over the source such as `F("target")`; fields
    left out or None become NULL, so defaults of the model do not apply. update_on: the unique
    fields on whose conflict the other fields are overwritten. One statement; no signals.
    """
    fields = {
        field.name: field for field in model._meta.concrete_fields if values.get(field.name) is not None
    }
    columns = {
        f"column_{name}": values[name]
        if hasattr(values[name], "resolve_expression")
        else Value(values[name], output_field=field)
        for name, field in fields.items()
    }
    quote = connection.ops.quote_name
    names = ", ".join(quote(field.column or field.name) for field in fields.values())
    try:
        select, parameters = source.annotate(**columns).values_list(*columns).query.sql_with_params()
    except EmptyResultSet:
        # Django sees from the conditions alone that no row can match.
        return 0
    # PostgreSQL and SQLite share this form; SQLite needs the WHERE to tell ON CONFLICT from a join.
    statement = (
        f"INSERT INTO {quote(model._meta.db_table)} ({names}) SELECT * FROM ({select}) AS rows WHERE true"  # noqa: S608 names come from the model
    )
    if update_on:
        keys = ", ".join(quote(fields[name].column or name) for name in update_on)
        updates = ", ".join(
            f"{quote(field.column or field.name)} = excluded.{quote(field.column or field.name)}"
            for name, field in fields.items()
            if name not in update_on
        )
        statement += f" ON CONFLICT ({keys}) DO UPDATE SET {updates}"
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return int(cursor.rowcount)
