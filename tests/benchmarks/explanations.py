"""Explanations beside explainerdashboard 0.5.8: same LightGBM model, same 10,000 rows, one machine, one run.

    python -m tests.benchmarks.explanations [--pages 200]

Makes the peer's own virtual environment in var/peers on the first run. Prints, for the portal and the peer:
how long from starting the processes to the first explanation over HTTP, how long pages take, and the memory
of the processes that answer HTTP; then what explaining 10,000 rows in a worker costs beside the booster's own
pred_contrib. Both sides explain in log-odds, the peer's faster mode. Quote the ratios, not the times.
"""

import argparse
import json
import os
import resource
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from opsportal.demo.ports import free_port
from opsportal.demo.store import server_command
from tests.benchmarks.portal import percentile

ROOT = Path(__file__).resolve().parents[2]
PEER = ROOT / "var" / "peers" / "explainerdashboard"
PEER_PROGRAM = Path(__file__).parent / "peers" / "explainerdashboard_peer.py"
PEER_PACKAGES = ("explainerdashboard==0.5.8", "setuptools<81", "lightgbm==4.7.0")
PASSWORD = "a long password for a benchmark"
BATCH_ROUNDS = 3
CONTRIBUTIONS = ("contributions-graph-index", "contributions-graph-depth")


def peer_python() -> Path:
    """The peer's Python, installed on the first call."""
    python = PEER / "bin" / "python"
    if not python.exists():
        print("Installing the peer into var/peers …", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(PEER)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PEER_PACKAGES], check=True)
    return python


@contextmanager
def running(*commands: list[str], folder: Path) -> Iterator[list[psutil.Process]]:
    """Run the commands, each a group of its own, until the block ends."""
    with (folder / "processes.log").open("ab") as log:
        processes = [
            subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, process_group=0)
            for command in commands
        ]
    try:
        yield [psutil.Process(process.pid) for process in processes]
    finally:
        for process in processes:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
            process.kill()
            process.wait()


def until(answer: Callable[[], Any], *, seconds: float = 600) -> Any:
    """Ask until there is an answer; raises TimeoutError after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if found := answer():
                return found
        except httpx.TransportError:
            pass
        time.sleep(0.01)
    raise TimeoutError


# -- The peer -------------------------------------------------------------------------------


def measure_peer(folder: Path) -> tuple[float, list[float], float]:
    """Seconds from cold to the first explanation, seconds of each later one, and MB of its one process."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [str(peer_python()), str(PEER_PROGRAM), "serve", str(folder), str(port)]
    began = time.perf_counter()
    with running(command, folder=folder) as (process,), httpx.Client(base_url=url, timeout=600) as client:
        ask = until(lambda: _contributions(client))
        ask("row-17")
        cold = time.perf_counter() - began
        warm = [_timed(ask, f"row-{number}") for number in range(100, 150)]
        memory = process.memory_info().rss / 1e6
    return cold, warm, memory


def _contributions(client: httpx.Client) -> Callable[[str], None]:
    """How a browser asks the dashboard for the contributions of one row."""
    callbacks = client.get("/_dash-dependencies").raise_for_status().json()
    callback = next(
        found
        for found in callbacks
        if found["output"].startswith("contributions-graph-")
        and found["output"].endswith(".figure")
        and all(any(name in one["id"] for one in found["inputs"]) for name in CONTRIBUTIONS)
    )
    defaults = {one["id"]: one["value"] for one in _components(client.get("/_dash-layout").json())}
    output_id, _, output_property = callback["output"].rpartition(".")

    def ask(row: str) -> None:
        inputs = [
            {**one, "value": row if CONTRIBUTIONS[0] in one["id"] else defaults.get(one["id"])}
            for one in callback["inputs"]
        ]
        body = {
            "output": callback["output"],
            "outputs": {"id": output_id, "property": output_property},
            "inputs": inputs,
            "state": [],
            "changedPropIds": [f"{inputs[0]['id']}.value"],
        }
        answer = client.post("/_dash-update-component", json=body)
        answer.raise_for_status()
        if not answer.json()["response"][output_id]["figure"]["data"]:
            raise RuntimeError("the peer drew nothing")

    return ask


def _components(layout: Any) -> Iterator[dict[str, Any]]:
    if isinstance(layout, dict):
        props = layout.get("props", {})
        if isinstance(props.get("id"), str):
            yield {"id": props["id"], "value": props.get("value")}
        for value in (props if "props" in layout else layout).values():
            yield from _components(value)
    elif isinstance(layout, list):
        for item in layout:
            yield from _components(item)


# -- The portal -----------------------------------------------------------------------------


def prepare_portal(folder: Path, peer_folder: Path) -> str:
    """A database with the model and its 10,000 predictions, and a person; the token of a key."""
    import django

    django.setup()
    import pandas as pd
    from django.core.management import call_command
    from django.utils import timezone

    from opsportal.accounts.models import User
    from opsportal.accounts.permissions import Role
    from opsportal.accounts.services import create_api_key, create_person, service_account
    from opsportal.explanations import explaining
    from opsportal.predictions import services
    from opsportal.predictions.services.registering import register_model

    call_command("migrate", verbosity=0)
    create_person(actor=None, username="dana", roles=[Role.DATA_SCIENTIST])
    dana = User.objects.get(username="dana")
    dana.set_password(PASSWORD)
    dana.save()
    _key, token = create_api_key(
        actor=None, name="benchmark", scopes=["predictions:read"], owner=service_account(name="benchmark")
    )
    ranges = json.loads((peer_folder / "ranges.json").read_text())
    dictionary = {
        "outcome": "chance",
        "features": [
            {"name": name, "label": name, "low": low, "high": high, "changeable": True}
            for name, (low, high) in ranges.items()
        ],
    }
    with (peer_folder / "model.txt").open("rb") as file:
        version = register_model(
            actor=dana, name="benchmark", version="1", file=file, dictionary=dictionary, threshold=0.5
        )
    explaining.check_model(version.pk)
    version.refresh_from_db()
    if version.state != "ready":
        raise RuntimeError(f"the model was refused: {version.problems}")
    table = pd.read_csv(peer_folder / "rows.csv")
    moment = timezone.now().isoformat()
    rows = [
        {
            "prediction_id": f"row-{number}",
            "predicted_at": moment,
            "score": row.pop("score"),
            "features": {name: value for name, value in row.items() if name != "truth"},
        }
        for number, row in enumerate(table.to_dict("records"))
    ]
    for start in range(0, len(rows), 1_000):
        answers = services.take_in(
            actor=dana, model="benchmark", version="1", predictions=rows[start : start + 1_000]
        )
        wrong = [answer for answer in answers if answer.result != "created"]
        if wrong:
            raise RuntimeError(str(wrong[0]))
    return token


def measure_portal(folder: Path, token: str, pages: int) -> dict[str, Any]:
    """Seconds from cold to the first explanation, of pages not stored yet and stored, and MB of the web."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    store_port = int(os.environ["REDIS_URL"].rpartition(":")[2].partition("/")[0])
    store_folder = folder / "store"
    store_folder.mkdir()
    celery = [sys.executable, "-m", "celery", "-A", "opsportal", "worker", "--queues", "explain"]
    began = time.perf_counter()
    with (
        running(
            server_command(port=store_port, folder=store_folder),
            [
                *(sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1"),
                *("--port", str(port), "--workers", "2", "--blocking-threads", "8", "--log-level", "warning"),
                "opsportal.wsgi:application",
            ],
            [*celery, "--concurrency", "1", "--loglevel", "warning", "--without-gossip", "--without-mingle"],
            folder=folder,
        ) as (_store, web, _worker),
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        path = "/api/v1/predictions/row-17/explanation"
        headers = {"Authorization": f"Api-Key {token}"}
        until(lambda: client.get(path, headers=headers).status_code == httpx.codes.OK)
        cold = time.perf_counter() - began
        person = _signed_in(client)
        # Until both web processes have loaded their templates.
        for number in range(50, 70):
            person(f"/explain/row-{number}/")
        fresh = [_timed(person, f"/explain/row-{number}/") for number in range(100, 100 + pages)]
        stored = [_timed(person, f"/explain/row-{number}/") for number in range(100, 100 + pages)]
        memory = [process.memory_info().rss / 1e6 for process in [web, *web.children(recursive=True)]]
    return {"cold": cold, "fresh": fresh, "stored": stored, "memory": memory}


def _signed_in(client: httpx.Client) -> Callable[[str], str]:
    page = client.get("/account/sign-in/").text
    token = page.partition('name="csrfmiddlewaretoken" value="')[2].partition('"')[0]
    fields = {"csrfmiddlewaretoken": token, "username": "dana", "password": PASSWORD}
    answer = client.post("/account/sign-in/", data=fields)
    if answer.status_code != httpx.codes.FOUND:
        raise RuntimeError(f"signing in answered {answer.status_code}")

    def ask(path: str) -> str:
        text = client.get(path).raise_for_status().text
        if "<table" not in text:
            raise RuntimeError(f"{path} does not show its numbers")
        return text

    return ask


# -- Many rows ------------------------------------------------------------------------------


def measure_batch(peer_folder: Path) -> dict[str, list[float]]:
    """Seconds for 10,000 rows, in turn: pred_contrib alone, our engine, our engine with rows stored."""
    import lightgbm
    import numpy as np

    from opsportal.explanations import explaining
    from opsportal.explanations.models import Explanation
    from opsportal.predictions.models import ModelVersion, Prediction

    version = ModelVersion.objects.select_related("model").get()
    predictions = list(Prediction.objects.select_related("version__model").order_by("pk"))
    booster = lightgbm.Booster(model_str=(peer_folder / "model.txt").read_text())
    matrix = np.array([list(prediction.values.values()) for prediction in predictions], dtype=np.float64)
    engine = explaining.engine_of(version)
    dictionary = version.features
    rows = [explaining.row_of(prediction, dictionary) for prediction in predictions]
    taken: dict[str, list[float]] = {"booster": [], "engine": [], "stored": []}
    for _ in range(BATCH_ROUNDS):
        taken["booster"].append(_timed(lambda: booster.predict(matrix, pred_contrib=True)))
        taken["engine"].append(_timed(lambda: engine.explain(rows)))
        Explanation.objects.all().delete()
        taken["stored"].append(_timed(lambda: explaining.explain_many(predictions)))
        if Explanation.objects.filter(state="ready").count() != len(predictions):
            raise RuntimeError("some explanation was refused")
    return taken


def _timed(work: Callable[..., object], *arguments: object) -> float:
    began = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - began


def main(pages: int) -> None:
    """Measure everything in one run and print it."""
    peer_python()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run([str(peer_python()), str(PEER_PROGRAM), "train", str(folder)], check=True)
        store = free_port()
        os.environ.update(
            DJANGO_SETTINGS_MODULE="opsportal.settings",
            ENV_FILE=str(folder / "none"),
            DEBUG="true",
            SECRET_KEY=secrets.token_hex(32),
            CUSTOMER_KEY=secrets.token_hex(32),
            DATABASE_URL=f"sqlite:///{folder / 'portal.sqlite3'}",
            MODELS_DIR=str(folder / "models"),
            REDIS_URL=f"redis://127.0.0.1:{store}/0",
            CELERY_BROKER_URL=f"redis://127.0.0.1:{store}/1",
            LOG_LEVEL="WARNING",
        )
        token = prepare_portal(folder, folder)
        ours = measure_portal(folder, token, pages)
        cold, warm, memory = measure_peer(folder)
        batch = measure_batch(folder)
    times = cold / ours["cold"]
    print(
        f"cold start to the first explanation: {ours['cold']:.2f} s, peer {cold:.1f} s: {times:.0f} × shorter"
    )
    for words, taken in (
        ("look-up page, not stored yet", ours["fresh"]),
        ("look-up page, stored", ours["stored"]),
        ("the peer's contributions callback", warm),
    ):
        middle, late = (percentile(taken, share) * 1_000 for share in (0.5, 0.95))
        print(f"{words}: p50 {middle:.0f} ms, p95 {late:.0f} ms ({len(taken)} times)")
    sizes = ", ".join(f"{one:.0f}" for one in ours["memory"])
    share = max(ours["memory"]) / memory
    print(f"memory: web processes {sizes} MB, peer {memory:.0f} MB: the largest is {share:.2f} of it")
    base = statistics.median(batch["booster"])
    for words, key in (("explained", "engine"), ("explained, checked and stored", "stored")):
        ratios = [ours_ / theirs for ours_, theirs in zip(batch[key], batch["booster"], strict=True)]
        print(f"10,000 rows {words}: {statistics.median(ratios):.3f} × pred_contrib ({base:.1f} s)")
    print(f"(this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:.0f} MB at most)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pages", type=int, default=200)
    main(parser.parse_args().pages)
