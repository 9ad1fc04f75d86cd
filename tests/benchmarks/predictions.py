"""How fast 1.25 million predictions come in, how much memory that takes, and how fast they are found again.

    OPSPORTAL_DATA_DIR=… python -m tests.benchmarks.predictions [--rows N] [--only sqlite]

Trains an LGBMRanker on Online Retail as of 1 October 2011, scores every customer × the best-selling products
into a Parquet file, and takes that in, on SQLite and on a temporary PostgreSQL, each in a process of its own.
Beside it a bare executemany or COPY of the same rows into the same table, without any check.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

ROWS = 1_250_000
TRAINED_ON, SCORED_ON = "2011-09-01", "2011-10-01"
FEATURES: list[dict[str, Any]] = [
    {"name": "recency", "label": "Days since the last purchase"},
    {"name": "orders", "label": "Orders so far"},
    {"name": "spent", "label": "Spent so far", "prefix": "£"},
    {"name": "bought", "label": "Times bought before"},
    {"name": "days_since_bought", "label": "Days since last bought"},
    {"name": "price", "label": "Price", "prefix": "£"},
    {"name": "sold", "label": "Pieces sold in four weeks"},
    {"name": "buyers", "label": "Customers who bought it"},
    {"name": "country", "type": "category"},
]
DICTIONARY = {"link": "identity", "outcome": "score", "features": FEATURES}
INPUTS = [feature["name"] for feature in FEATURES if feature["name"] != "country"]
LOOK_UPS = 200


# -- The predictions ----------------------------------------------------------------------------


def generate(source: Path, folder: Path, rows: int) -> tuple[Path, Path]:
    """Train, score, and write the predictions and the model; their files."""
    import lightgbm
    import numpy as np
    import pandas as pd

    sales = pd.read_parquet(source)
    sales = sales[sales["CustomerID"].notna() & (sales["Quantity"] > 0)].rename(
        columns={"StockCode": "product_id", "InvoiceDate": "at", "UnitPrice": "price"}
    )
    sales["customer_id"] = sales["CustomerID"].astype(float).astype(int).astype(str)
    sales["at"] = pd.to_datetime(sales["at"])
    train = _cases(sales, TRAINED_ON, per_customer=40)
    later = sales[(sales["at"] >= TRAINED_ON) & (sales["at"] < SCORED_ON)]
    wanted = set(zip(later["customer_id"], later["product_id"], strict=True))
    pairs = zip(train["customer_id"], train["product_id"], strict=True)
    labels = np.fromiter((pair in wanted for pair in pairs), dtype=int, count=len(train))
    ranker = lightgbm.LGBMRanker(n_estimators=50, num_leaves=31, verbose=-1, seed=7, n_jobs=2)
    ranker.fit(train[INPUTS], labels, group=train.groupby("customer_id", sort=False).size())
    customers = sales[sales["at"] < SCORED_ON]["customer_id"].nunique()
    cases = _cases(sales, SCORED_ON, per_customer=-(-rows // customers)).head(rows)
    cases["score"] = ranker.predict(cases[INPUTS])
    cases["prediction_id"] = [f"retail-{number:07d}" for number in range(len(cases))]
    moment = pd.Timestamp.now("UTC").floor("s").tz_localize(None)
    cases["predicted_at"] = moment - pd.to_timedelta(np.arange(len(cases)) // 40, unit="s")
    model, predictions = folder / "ranker.txt", folder / "predictions.parquet"
    ranker.booster_.save_model(model)
    columns = ["prediction_id", "predicted_at", "score", "customer_id", "product_id"]
    cases[columns + [feature["name"] for feature in FEATURES]].to_parquet(predictions, index=False)
    return model, predictions


def _cases(sales: "pd.DataFrame", day: str, *, per_customer: int) -> "pd.DataFrame":
    """Every customer × the products that sold best, with what was known that day."""
    import pandas as pd

    moment = pd.Timestamp(day)
    known = sales[sales["at"] < moment].assign(spent=lambda rows: rows["Quantity"] * rows["price"])
    customers = known.groupby("customer_id").agg(
        last=("at", "max"),
        orders=("InvoiceNo", "nunique"),
        spent=("spent", "sum"),
        country=("Country", "last"),
    )
    customers["recency"] = (moment - customers.pop("last")).dt.days
    recent = known[known["at"] >= moment - pd.Timedelta(days=28)]
    products = known.groupby("product_id").agg(price=("price", "median"), buyers=("customer_id", "nunique"))
    products["sold"] = recent.groupby("product_id")["Quantity"].sum()
    products["sold"] = products["sold"].fillna(0).astype(int)
    best = products.nlargest(per_customer, "buyers")
    pairs = known.groupby(["customer_id", "product_id"]).agg(
        bought=("InvoiceNo", "nunique"), last_bought=("at", "max")
    )
    cases = customers.reset_index().merge(best.reset_index(), how="cross")
    cases = cases.merge(pairs.reset_index(), how="left", on=["customer_id", "product_id"])
    cases["days_since_bought"] = (moment - cases.pop("last_bought")).dt.days
    cases["bought"] = cases["bought"].fillna(0).astype(int)
    return cases


# -- One database, in a process of its own --------------------------------------------------------


def measure(model: Path, predictions: Path, *, bare: bool) -> None:
    """Take the file in and look rows up, or insert the same rows without any check."""
    import django

    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    django.setup()
    from django.core.management import call_command
    from django.db import connection

    call_command("migrate", verbosity=0)
    version = _register(model)
    if bare:
        _insert_bare(version, predictions)
        return
    began, used = time.perf_counter(), time.process_time()
    call_command("import_predictions", str(predictions), model="retail", model_version="1", stdout=sys.stderr)
    seconds, cpu = time.perf_counter() - began, time.process_time() - used
    memory = _peak_megabytes()

    from opsportal.predictions.models import Prediction

    rows = Prediction.objects.count()
    print(
        f"{connection.vendor}: {rows:,} predictions in {seconds:,.1f} s: {rows / seconds:,.0f} rows/s"
        f" ({cpu:,.1f} s of this process's CPU: {rows / cpu:,.0f} rows/s), {memory:,.0f} MB at most"
    )
    _look_up()


def _peak_megabytes() -> float:
    """The most memory this process has had; ru_maxrss would include that of its parent."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _register(model: Path) -> Any:
    from opsportal.core import clock
    from opsportal.predictions.models import Model, ModelVersion

    moment = clock.now()
    owner = Model.objects.create(name="retail", title="Retail ranker", created_at=moment)
    return ModelVersion.objects.create(
        model=owner,
        version="1",
        format="lightgbm",
        file=str(model),
        sha256="0" * 64,
        size=model.stat().st_size,
        dictionary=DICTIONARY,
        state="ready",
        registered_at=moment,
        checked_at=moment,
    )


def _insert_bare(version: Any, predictions: Path) -> None:
    from django.db import connection, transaction

    from opsportal.core import clock
    from opsportal.predictions import tables
    from opsportal.predictions.services import importing, storing

    table = tables.open_table(predictions)
    plan = importing.plan_columns(table.columns, {}, version.features)
    reader = importing._Reader(table, plan, version.features, importing.CHUNK, None)
    names = f"version_id, received_at, {', '.join(storing.COLUMNS)}"
    importing._make_room()
    count, seconds = 0, 0.0
    for rows, _bad in reader.rows(""):
        moment = clock.now()
        if connection.vendor == "postgresql":
            values: list[tuple[Any, ...]] = [(version.pk, moment, *row.content) for _number, row in rows]
        else:
            stamp = storing._as_stored
            values = [(version.pk, stamp(moment), row[0], stamp(row[1]), *row[2:-1]) for _number, row in rows]
        began = time.perf_counter()
        with transaction.atomic(), connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                with cursor.copy(f"COPY predictions_prediction ({names}) FROM STDIN") as copy:
                    for value in values:
                        copy.write_row(value)
            else:
                places = ", ".join(["%s"] * len(values[0]))
                cursor.executemany(
                    f"INSERT INTO predictions_prediction ({names}) VALUES ({places})",  # noqa: S608 our names
                    values,
                )
        seconds += time.perf_counter() - began
        count += len(values)
    way = "COPY" if connection.vendor == "postgresql" else "executemany"
    print(
        f"{connection.vendor}: bare {way}: {count:,} rows in {seconds:,.1f} s: {count / seconds:,.0f} rows/s"
    )


def _look_up() -> None:
    from random import Random

    from opsportal.core.pagination import keyset_page
    from opsportal.predictions.models import Prediction
    from opsportal.predictions.selectors import (
        NEWEST_FIRST,
        LookUp,
        earlier_of_same_customer,
        find_predictions,
    )
    from tests.benchmarks.portal import percentile

    random = Random(7)  # noqa: S311 which rows, no secret
    newest = Prediction.objects.order_by("-pk").values_list("pk", flat=True)[0]
    oldest = Prediction.objects.order_by("pk").values_list("pk", flat=True)[0]
    picked = [random.randint(oldest, newest) for _ in range(LOOK_UPS)]
    rows = list(Prediction.objects.filter(pk__in=picked).select_related("version__model"))
    ways: dict[str, Callable[[Prediction], Any]] = {
        "prediction ID": lambda row: LookUp(prediction_id=row.prediction_id),
        "customer": lambda row: LookUp(customer_key=row.customer_key),
        "customer and model": lambda row: LookUp(customer_key=row.customer_key, model="retail"),
        "product": lambda row: LookUp(product_id=row.product_id),
        "product and model": lambda row: LookUp(product_id=row.product_id, model="retail", version="1"),
        "customer and product": lambda row: LookUp(customer_key=row.customer_key, product_id=row.product_id),
        "model": lambda _row: LookUp(model="retail"),
        "model until": lambda row: LookUp(model="retail", until=row.predicted_at),
    }
    for name, wanted in ways.items():
        times = []
        for row in rows:
            began = time.perf_counter()
            keyset_page(find_predictions(wanted(row)), order=NEWEST_FIRST, cursor=None, size=50)
            times.append(time.perf_counter() - began)
        print(f"  by {name}: p95 {percentile(times, 0.95) * 1000:.1f} ms, slowest {max(times) * 1000:.1f} ms")
    times = []
    for row in rows:
        began = time.perf_counter()
        earlier_of_same_customer(row, 10)
        times.append(time.perf_counter() - began)
    print(f"  earlier of the same customer: p95 {percentile(times, 0.95) * 1000:.1f} ms")


# -- All of it ------------------------------------------------------------------------------------


@contextmanager
def databases(folder: Path, only: str) -> Iterator[dict[str, list[str]]]:
    """Kind → two URLs of empty databases."""
    from tests.postgres import find_binaries, temporary_cluster

    found = {"sqlite": [f"sqlite:///{folder / name}.sqlite3" for name in ("import", "bare")]}
    binaries = find_binaries()
    if only == "sqlite" or binaries is None:
        yield found
        return
    with temporary_cluster(binaries) as url:
        postgres = [url, url.rpartition("/")[0] + "/bare"]
        subprocess.run(["psql", "-q", "-d", url, "-c", "CREATE DATABASE bare"], check=True)
        yield {"postgresql": postgres, **(found if not only else {})}


def main() -> None:
    """Generate, then measure each database in processes of their own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--only", choices=["sqlite", "postgresql"], default="")
    parser.add_argument("--measure", nargs=2, type=Path, metavar=("MODEL", "FILE"), help=argparse.SUPPRESS)
    parser.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(*arguments.measure, bare=arguments.bare)
        return
    if not (source := os.environ.get("OPSPORTAL_DATA_DIR")):
        sys.exit("Set OPSPORTAL_DATA_DIR to the folder with online_retail_2010_2011.parquet.")
    with tempfile.TemporaryDirectory(prefix="opsportal-bench-") as name:
        folder = Path(name)
        began = time.perf_counter()
        files = generate(Path(source) / "online_retail_2010_2011.parquet", folder, arguments.rows)
        print(f"trained and scored in {time.perf_counter() - began:.0f} s", flush=True)
        with databases(folder, arguments.only) as urls:
            for imported, bare in urls.values():
                for url, more in ((imported, []), (bare, ["--bare"])):
                    command = [sys.executable, "-m", "tests.benchmarks.predictions", *more, "--measure"]
                    environment = {**os.environ, "TEST_DATABASE_URL": url}
                    subprocess.run([*command, *map(str, files)], env=environment, check=True)


if __name__ == "__main__":
    main()
