"""Write the labels of a run as Parquet, batch by batch."""

import io
from dataclasses import asdict
from itertools import islice

import pyarrow as pa
from django.db import transaction
from pyarrow import parquet

from opsportal.audits.models import Export
from opsportal.audits.selectors.labels import label_rows
from opsportal.audits.services.exports import EXPORT_TASK, forget_old
from opsportal.core import clock
from opsportal.events import outbox

ROW_GROUP = 20_000
SCHEMA = pa.schema(
    [
        pa.field("prediction_id", pa.string(), nullable=False),
        ("predicted", pa.string()),
        ("label", pa.string()),
        ("is_error", pa.bool_()),
        ("stream", pa.string()),
        ("stratum", pa.string()),
        ("inclusion_probability", pa.float64()),
        ("weight", pa.float64()),
        ("provenance", pa.string()),
        ("reviewers", pa.int32()),
        ("model", pa.string()),
        ("version", pa.string()),
        ("run", pa.int64()),
        ("seed", pa.string()),
        ("settled_at", pa.timestamp("us", tz="UTC")),
    ]
)


def export(pk: int) -> None:
    """Write the file that somebody wants; nothing where it is written already or gone.

    Memory: 20,000 rows and the compressed file. Who opts out meanwhile makes the file unfit, which
    `services.exports.is_fit` sees.
    """
    forget_old()
    wanted = Export.objects.filter(pk=pk, state=Export.State.WANTED).select_related("run__model").first()
    if wanted is None:
        return
    # Before the first row is read: whoever opts out after this has it written anew.
    begun = clock.now()
    rows, count, file = label_rows(wanted.run), 0, io.BytesIO()
    with parquet.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
        while group := list(islice(rows, ROW_GROUP)):
            writer.write_table(pa.Table.from_pylist([asdict(row) for row in group], schema=SCHEMA))
            count += len(group)
            outbox.renew(EXPORT_TASK, str(pk))
    with transaction.atomic():
        Export.objects.filter(pk=pk, state=Export.State.WANTED).update(
            state=Export.State.READY, content=file.getvalue(), rows=count, made_at=begun
        )
