"""How fast a sample is drawn from ten million predictions in Parquet files, and in how much memory.

    python -m tests.benchmarks.audit_drawing [--rows N] [--files N] [--items N]

Writes the predictions into a temporary folder, counting what each stratum holds as it goes. Then a fresh
process draws from them on a database of its own, through the tasks that workers run, and compares: the frame
with the counts, the drawn shares with the plan, the probabilities with both. Exit 1 where anything differs or
more than 500 MB were resident.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

ROWS, FILES, ITEMS = 10_000_000, 8, 5_000
MEGABYTES_MAX = 500
PIECE = 250_000
CUSTOMERS, OPTED_OUT = 900_000, 1_000
SEED = 20_261_124
BEGINS = datetime(2026, 11, 16, tzinfo=UTC)
EDGES = [0.2, 0.4, 0.6, 0.8]
SURFACES = ["home-left", "search", "category", "basket"]
LABELS = [
    {"value": "negative", "title": "Negative", "key": "1", "guideline": ""},
    {"value": "positive", "title": "Positive", "key": "2", "guideline": ""},
]
DICTIONARY = {
    "positive": "positive",
    "negative": "negative",
    "features": [
        {"name": "review", "label": "Review", "type": "text"},
        {"name": "stars", "label": "Stars", "low": 1, "high": 5},
        {"name": "country", "label": "Country", "type": "category"},
    ],
}
TEXT = "the fit is perfect but colour came off after one wash and it smells of plastic would buy again"


def write(folder: Path, rows: int, files: int) -> None:
    """Write the files, and `truth.json`: what a frame of them must hold, by stratum."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    random = np.random.default_rng(SEED)
    texts = np.array(
        [" ".join(random.choice(TEXT.split(), size=random.integers(5, 40))) for _ in range(20_000)],
        dtype=object,
    )
    countries = np.array(["DE", "FR", "GB", "PL", "NL", "IT"], dtype=object)
    frames: Counter[str] = Counter()
    excluded, done = 0, 0
    for number in range(files):
        last = rows * (number + 1) // files
        writer = None
        while done < last:
            count = min(PIECE, last - done)
            numbers = np.arange(done, done + count)
            scores = random.beta(0.6, 0.9, count)
            surfaces = random.integers(0, len(SURFACES), count)
            customers = random.integers(0, CUSTOMERS, count)
            table = pa.table(
                {
                    "prediction_id": [f"{SEED}-{one:010x}" for one in numbers.tolist()],
                    "predicted_at": pa.array(
                        (numbers % 604_800) * 1_000_000 + int(BEGINS.timestamp()) * 1_000_000,
                        pa.timestamp("us", "UTC"),
                    ),
                    "score": scores,
                    "customer_id": [f"C{one:07}" for one in customers.tolist()],
                    "product_id": [f"P{one:05}" for one in random.integers(0, 40_000, count).tolist()],
                    "surface": pa.array([SURFACES[one] for one in surfaces.tolist()]),
                    "review": pa.array(texts[random.integers(0, len(texts), count)].tolist()),
                    "stars": random.integers(1, 6, count).astype(float),
                    "country": pa.array(countries[random.integers(0, len(countries), count)].tolist()),
                }
            )
            writer = writer or pq.ParquetWriter(folder / f"part-{number:03}.parquet", table.schema)
            writer.write_table(table)
            there = customers >= OPTED_OUT
            excluded += int((~there).sum())
            bands = np.searchsorted(EDGES, scores, side="right")
            found, counts = np.unique((bands * len(SURFACES) + surfaces)[there], return_counts=True)
            for code, n in zip(found.tolist(), counts.tolist(), strict=True):
                frames[f"{code // len(SURFACES)} {SURFACES[code % len(SURFACES)]}"] += n
            done += count
        if writer is not None:
            writer.close()
    (folder / "truth.json").write_text(json.dumps({"frames": frames, "excluded": excluded}))


def draw(folder: Path, items: int) -> int:
    """Draw as workers do, compare, and print; 1 where something is not as it must be."""
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    from opsportal.audits.models import Item, Run, Stratum
    from opsportal.audits.services.runs import start_run
    from opsportal.events import outbox

    policy = _policy(items)
    run = start_run(actor=None, policy=policy, starts_at=BEGINS, ends_at=BEGINS + timedelta(days=7))
    began = time.perf_counter()
    while outbox.drain(lane="audits."):
        run.refresh_from_db()
        print(f"  {time.perf_counter() - began:6.1f} s: {run.rows_done:>12,} of {run.rows_total:,} rows read")
    seconds = time.perf_counter() - began
    run.refresh_from_db()
    if run.state != Run.State.OPEN:
        print(f"Not drawn: {run.problem}")
        return 1
    truth = json.loads((folder / "truth.json").read_text())
    strata = list(Stratum.objects.filter(run=run))
    bands = ["below 0.2", "0.2–0.4", "0.4–0.6", "0.6–0.8", "0.8 and above"]
    frames = {f"{bands.index(one.key['score_band'])} {one.key['surface']}": one.frame for one in strata}
    drawn = Counter(Item.objects.filter(run=run).values_list("stratum", flat=True))
    off = [one.title for one in strata if not one.planned == one.drawn == drawn[one.pk]]
    probabilities = {(one.pk, one.planned / one.frame) for one in strata} == set(
        Item.objects.filter(run=run).values_list("stratum", "inclusion_probability").distinct()
    )
    checks = {
        f"frame of each of {len(strata)} strata as it was written": frames == truth["frames"],
        f"{run.excluded:,} rows of customers who opted out left out": run.excluded == truth["excluded"],
        f"{run.items:,} items drawn, as many of each stratum as planned": not off and run.items == items,
        "each item's probability = planned ÷ frame": probabilities,
    }
    megabytes = _peak_megabytes()
    checks[f"peak memory {megabytes:,.0f} MB, at most {MEGABYTES_MAX}"] = megabytes <= MEGABYTES_MAX
    rows = run.frame + run.excluded
    print(f"{rows:,} rows drawn from in {seconds:,.1f} s: {rows / seconds:,.0f} rows/s (each is read twice)")
    for one in strata:
        print(f"  {one.title:<42} {one.drawn:>6,} of {one.frame:>10,} = {one.drawn / one.frame:.6%}")
    for words, holds in checks.items():
        print(f"{'ok ' if holds else 'NOT'} {words}")
    return 0 if all(checks.values()) else 1


def _policy(items: int) -> Any:
    from opsportal.accounts.models import User
    from opsportal.audits.models import Policy
    from opsportal.core import clock
    from opsportal.predictions.models import Model, ModelVersion, Suppression
    from opsportal.predictions.pseudonyms import customer_key

    moment = clock.now()
    model = Model.objects.create(name="reviews", title="Reviews", created_at=moment)
    version = ModelVersion.objects.create(
        model=model,
        version="1",
        format="skops",
        sha256="0" * 64,
        size=0,
        dictionary=DICTIONARY,
        threshold=0.5,
        state=ModelVersion.State.READY,
        registered_at=moment,
        checked_at=moment,
    )
    Suppression.objects.bulk_create(
        Suppression(customer_key=customer_key(f"C{number:07}"), since=moment) for number in range(OPTED_OUT)
    )
    return Policy.objects.create(
        model=model,
        version=version,
        title="Benchmark",
        name="benchmark",
        source="files",
        files="*.parquet",
        sizing="size",
        size=items,
        strata=["score_band", "surface"],
        score_edges=EDGES,
        allocation="neyman",
        labels=LABELS,
        created_by=User.objects.create_user("benchmark"),
        created_at=moment,
    )


def _peak_megabytes() -> float:
    """The most that was resident, by the kernel's count for this process alone."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1_000
    raise RuntimeError("the kernel does not say how much memory was used")


def main() -> int:
    """Write, then draw in a process that has written nothing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--files", type=int, default=FILES)
    parser.add_argument("--items", type=int, default=ITEMS)
    parser.add_argument("--draw", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.draw:
        return draw(options.draw, options.items)
    with tempfile.TemporaryDirectory(prefix="opsportal-drawing-") as name:
        folder = Path(name)
        began = time.perf_counter()
        write(folder, options.rows, options.files)
        size = sum(file.stat().st_size for file in folder.glob("*.parquet")) / 1e6
        print(
            f"Wrote {options.rows:,} rows into {options.files} files, {size:,.0f} MB, "
            f"in {time.perf_counter() - began:,.0f} s."
        )
        return subprocess.call(
            [
                sys.executable,
                "-m",
                "tests.benchmarks.audit_drawing",
                "--draw",
                str(folder),
                "--items",
                str(options.items),
            ],
            env={
                **os.environ,
                "DJANGO_SETTINGS_MODULE": "opsportal.settings",
                "ENV_FILE": "/nonexistent",
                "DEBUG": "false",
                "SECRET_KEY": "benchmark-only-secret-key-" + "0" * 40,
                "CUSTOMER_KEY": "benchmark-only-customer-key-" + "0" * 40,
                "ALLOWED_HOSTS": "127.0.0.1",
                "DATABASE_URL": f"sqlite:///{folder / 'portal.sqlite3'}",
                "AUDIT_FILES_DIR": str(folder),
                "OUTBOX_NUDGE": "false",
                "LOG_LEVEL": "ERROR",
            },
        )


if __name__ == "__main__":
    sys.exit(main())
