"""The review queue under fifty reviewers, on SQLite and PostgreSQL, beside Label Studio 1.23.2 in one run.

    python -m tests.benchmarks.audit_queue [--reviewers 50] [--items 10000] [--peer-seconds 60]

Serves the real application with granian and labels every item through the REST API, each reviewer with a key
and a connection of their own, without thinking time: claim, answer, claim, … One in ten items is meant twice.
Some reviewers are killed while they hold items; then their leases are brought to their end by the database's
clock, and others finish. Checks that every review was answered once, by different people where two were
meant, and that nothing was in two hands at once. Then eight annotators label the same texts in Label Studio
by its API; its virtual environment is made in var/peers on the first run. Fails unless every count is right.
Quote the ratio, not the times.
"""

import argparse
import csv
import http.client
import json
import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from opsportal.demo.ports import free_port
from tests.benchmarks.explanations import running, until
from tests.benchmarks.portal import percentile
from tests.postgres import find_binaries, temporary_cluster

ROOT = Path(__file__).resolve().parents[2]
PEER = ROOT / "var" / "peers" / "label-studio"
PEER_PROGRAM = Path(__file__).parent / "peers" / "label_studio_peer.py"
PEER_PACKAGES = ("label-studio==1.23.2",)
REVIEWS = ROOT / "opsportal" / "demo" / "data" / "reviews.csv"
ANSWERS = ["negative", "neutral", "positive"]
SHARE_TWICE = 10
PEER_BATCH = 1_000
CLIENTS = 3
KILLED = 5
# So many answers of those who will be killed are waited for.
ANSWERS_BEFORE_KILL = 40
SAFE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
HTTP_OK, HTTP_CREATED, HTTP_NOT_FOUND = 200, 201, 404


# -- Reviewers: run in processes of their own ------------------------------------------------


class Reviewer:
    """One person's connection to one of the two systems."""

    def __init__(self, port: int, headers: dict[str, str]) -> None:
        self._port = port
        self._headers = {**headers, "Content-Type": "application/json"}
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """The status and the JSON of one request."""
        text = None if body is None else json.dumps(body)
        try:
            self._connection.request(method, path, text, self._headers)
            response = self._connection.getresponse()
        except (http.client.HTTPException, ConnectionError):
            self._connection.close()
            self._connection.request(method, path, text, self._headers)
            response = self._connection.getresponse()
        content = response.read()
        is_json = "json" in response.headers.get("Content-Type", "")
        return response.status, json.loads(content) if is_json else content

    def take(self) -> tuple[int, Any] | None:
        """The next item's number, and what answering it needs; None when there is none."""
        raise NotImplementedError

    def answer(self, item: int, needed: Any) -> bool:
        """Answer the item; whether it was stored."""
        raise NotImplementedError


class OfThePortal(Reviewer):
    """A reviewer with a key of the portal."""

    def take(self) -> tuple[int, Any] | None:
        status, body = self.ask("POST", "/api/v1/audits/next", {})
        if status != HTTP_OK:
            raise RuntimeError(f"the next item answered {status}: {body}")
        found = body["items"]
        return (found[0]["item_id"], found[0]["token"]) if found else None

    def answer(self, item: int, needed: Any) -> bool:
        given = {"token": needed, "label": ANSWERS[item % 3]}
        status, body = self.ask("POST", f"/api/v1/audits/items/{item}/label", given)
        if status not in {HTTP_OK, 409}:
            raise RuntimeError(f"an answer answered {status}: {body}")
        return status == HTTP_OK


class OfThePeer(Reviewer):
    """An annotator of Label Studio with a token, in project 1."""

    def take(self) -> tuple[int, Any] | None:
        status, body = self.ask("GET", "/api/projects/1/next")
        if status == HTTP_NOT_FOUND:
            return None
        if status != HTTP_OK:
            raise RuntimeError(f"the next task answered {status}: {body}")
        return body["id"], None

    def answer(self, item: int, needed: Any) -> bool:
        choice = {
            "from_name": "label",
            "to_name": "text",
            "type": "choices",
            "value": {"choices": [ANSWERS[item % 3]]},
        }
        body = {"result": [choice], "lead_time": 1.0}
        status, _ = self.ask("POST", f"/api/tasks/{item}/annotations/?project=1", body)
        return status == HTTP_CREATED


SYSTEMS: dict[str, Callable[[int, str], Reviewer]] = {
    "portal": lambda port, token: OfThePortal(port, {"Authorization": f"Api-Key {token}"}),
    "peer": lambda port, token: OfThePeer(port, {"Authorization": f"Token {token}"}),
}


def label(system: str, port: int, seconds: float) -> None:
    """Be the reviewers whose tokens come in on standard input, until nothing is left or the time is over.

    Prints a line of JSON per answer: person, item, when it was asked for, had and answered (seconds since
    1970), and whether it was stored.
    """
    tokens: list[str] = json.load(sys.stdin)
    deadline = time.time() + seconds
    writing = threading.Lock()

    def work(person: str) -> None:
        reviewer = SYSTEMS[system](port, person)
        empty = 0
        while time.time() < deadline and empty < 3:
            asked = time.time()
            found = reviewer.take()
            had = time.time()
            if found is None:
                # Others may have been at the rows in between.
                empty += 1
                time.sleep(0.05)
                continue
            stored = reviewer.answer(*found)
            line = json.dumps([person, found[0], asked, had, time.time(), stored])
            with writing:
                print(line, flush=True)

    threads = [threading.Thread(target=work, args=[token]) for token in tokens]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# -- The portal's side: run in processes of their own, with the settings in the environment ----


def prepare(reviewers: int, items: int) -> None:
    """Migrate, write people, keys and an open run; prints the keys' tokens."""
    import django

    django.setup()
    from django.core.management import call_command

    from opsportal.accounts.models import User
    from opsportal.accounts.permissions import Role
    from opsportal.accounts.services import create_api_key, create_person
    from opsportal.audits.models import Run, Stream
    from opsportal.audits.services.filling import NewItem
    from opsportal.audits.services.runs import start_chosen_run
    from opsportal.core import clock
    from opsportal.predictions.models import Model

    call_command("migrate", verbosity=0)
    tokens = []
    for number in range(reviewers):
        person = create_person(
            actor=None, username=f"reviewer-{number}", roles=[Role.AUDITOR], password=secrets.token_hex(16)
        )
        _key, token = create_api_key(actor=None, name="labelling", scopes=["audits:write"], owner=person)
        tokens.append(token)
    lead = create_person(actor=None, username="lead", roles=[Role.AUDIT_LEAD])
    texts = _texts()
    start_chosen_run(
        actor=User.objects.get(pk=lead.pk),
        kind=Run.Kind.TARGETED,
        model=Model.objects.create(name="sentiment", title="Sentiment", created_at=clock.now()),
        title="Ten thousand sentences",
        labels=[
            {"value": value, "title": value.capitalize(), "key": str(number), "guideline": ""}
            for number, value in enumerate(ANSWERS, start=1)
        ],
        blind=True,
        items=(
            NewItem(
                prediction_id=f"p-{number}",
                version_id=None,
                predicted_at=clock.now(),
                score=0.5,
                predicted=ANSWERS[number % 3],
                text=texts[number % len(texts)],
                stream=Stream.SUSPECT,
                reviews=1 if number % SHARE_TWICE else 2,
            )
            for number in range(items)
        ),
    )
    print(json.dumps(tokens))


def end_leases() -> None:
    """Let ten minutes pass for every lease; prints which items were held."""
    import django

    django.setup()
    from datetime import timedelta

    from django.db.models.functions import Now

    from opsportal.audits.models import Review

    held = Review.objects.filter(state=Review.State.LEASED)
    items = list(held.values_list("item_id", flat=True))
    held.update(leased_until=Now() - timedelta(seconds=1))
    print(json.dumps(items))


def count() -> None:
    """Print what the database says at the end."""
    import django

    django.setup()
    from django.db.models import Count

    from opsportal.audits.models import Item, Label, Review, Run

    run = Run.objects.get()
    answers = Label.objects.values("item").annotate(n=Count("id"), people=Count("person", distinct=True))
    needed = dict(Item.objects.annotate(n=Count("reviews")).values_list("pk", "n"))
    print(
        json.dumps(
            {
                "reviews": Review.objects.count(),
                "answers": Label.objects.count(),
                "reviews answered": Label.objects.values("review").distinct().count(),
                "items": Item.objects.count(),
                "items meant twice": [item for item, number in needed.items() if number > 1],
                "items settled": Item.objects.filter(state=Item.State.SETTLED).count(),
                "items with the wrong number of answers": _wrong(
                    {row["item"]: (row["n"], row["people"]) for row in answers},
                    needed,
                ),
                "counters": [run.reviews_needed, run.reviews_done, run.settled, run.to_adjudicate],
            }
        )
    )


def _wrong(answers: dict[int, tuple[int, int]], needed: dict[int, int]) -> int:
    return sum(answers.get(item) != (number, number) for item, number in needed.items())


def _texts() -> list[str]:
    with REVIEWS.open(encoding="utf-8", newline="") as file:
        return [row["text"] for row in csv.DictReader(file)]


# -- Both sides -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """One answer as its reviewer saw it; times in seconds since 1970."""

    person: str
    item: int
    asked: float
    had: float
    answered: float
    stored: bool


def start_clients(
    folder: Path, system: str, port: int, people: list[list[str]], seconds: float
) -> Iterator["subprocess.Popen[str]"]:
    """A process for each group of people."""
    for tokens in people:
        process = subprocess.Popen(
            [*_program("label"), "--system", system, "--port", str(port), "--seconds", str(seconds)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(folder / "clients.log").open("ab"),
            text=True,
        )
        if process.stdin is None:
            raise RuntimeError("no pipe")
        process.stdin.write(json.dumps(tokens))
        process.stdin.close()
        yield process


def collect(process: "subprocess.Popen[str]", into: list[Answer], *, kill_after: int | None = None) -> None:
    """Read the answers of a process until it ends; kill it after so many."""
    if process.stdout is None:
        raise RuntimeError("no pipe")
    for number, line in enumerate(process.stdout, start=1):
        if not line.endswith("\n"):
            break  # killed in the middle of a line
        into.append(Answer(*json.loads(line)))
        if number == kill_after:
            process.kill()
    process.wait()
    if process.returncode and kill_after is None:
        raise RuntimeError("a client failed; see clients.log")


def label_together(
    folder: Path, system: str, port: int, people: list[list[str]], *, seconds: float, killed: list[str]
) -> tuple[list[Answer], list[Answer]]:
    """Let the groups label at once; their answers, and those of the people who are killed on the way."""
    answers: list[Answer] = []
    of_killed: list[Answer] = []
    groups = [*people, *([killed] if killed else [])]
    failures: list[BaseException] = []

    def read(process: "subprocess.Popen[str]", into: list[Answer], kill_after: int | None) -> None:
        try:
            collect(process, into, kill_after=kill_after)
        except BaseException as error:  # noqa: BLE001 told in the thread that waits
            failures.append(error)

    processes = list(start_clients(folder, system, port, groups, seconds))
    readers = [
        threading.Thread(
            target=read,
            args=(process, of_killed, ANSWERS_BEFORE_KILL)
            if number == len(people)
            else (process, answers, None),
        )
        for number, process in enumerate(processes)
    ]
    try:
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
    finally:
        for process in processes:
            process.kill()
            process.wait()
    if failures:
        raise failures[0]
    return answers, of_killed


def rate(answers: list[Answer], *, until_share: float = 1.0) -> float:
    """Answers per second, from the first request to when this share of them was stored."""
    stored = sorted(answer.answered for answer in answers if answer.stored)
    last = stored[max(int(len(stored) * until_share) - 1, 0)]
    return len(stored) * until_share / (last - min(answer.asked for answer in answers))


def double_claims(answers: list[Answer], needed: dict[int, int]) -> int:
    """Items that were in more hands at once than were meant, by the reviewers' own clocks."""
    at_once = 0
    by_item: dict[int, list[Answer]] = {}
    for answer in answers:
        by_item.setdefault(answer.item, []).append(answer)
    for item, group in by_item.items():
        # From when somebody had it to when they sent it: never longer than it was theirs.
        overlapping = max(sum(other.had <= one.had < other.answered for other in group) for one in group)
        at_once += overlapping > needed.get(item, 1)
    return at_once


def cpu_seconds(process: psutil.Process) -> float:
    """Processor time of a process and its children so far."""
    times = [one.cpu_times() for one in [process, *process.children(recursive=True)]]
    return sum(one.user + one.system for one in times)


def told(words: str, seconds: list[float]) -> str:
    """The middle and the late end of some times."""
    middle, late = (percentile(seconds, share) * 1_000 for share in (0.5, 0.95))
    return f"{words} p50 {middle:.0f} ms, p95 {late:.0f} ms"


def measure_portal(folder: Path, database: str, url: str, reviewers: int, items: int) -> float:
    """Label everything on one database, check and print; labels per second."""
    environment = _environment(folder, url)
    tokens = json.loads(_run("prepare", environment, "--reviewers", str(reviewers), "--items", str(items)))
    killed, rest = tokens[:KILLED], tokens[KILLED:]
    people = [rest[number::CLIENTS] for number in range(CLIENTS)]
    port = free_port()
    web = [
        *(sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port)),
        *("--workers", "2", "--blocking-threads", "8", "--backpressure", "32", "--backlog", "1024"),
        *("--log-level", "warning", "opsportal.wsgi:application"),
    ]
    with _set(environment), running(web, folder=folder) as (server,):
        probe = OfThePortal(port, {"Authorization": f"Api-Key {tokens[0]}"})
        until(lambda: _answers(lambda: probe.ask("GET", "/healthz")[0] == HTTP_OK), seconds=60)
        before = cpu_seconds(server)
        first, of_killed = label_together(folder, "portal", port, people, seconds=3_600, killed=killed)
        spent = cpu_seconds(server) - before
        held = json.loads(_run("end_leases", environment))
        second, _ = label_together(folder, "portal", port, people, seconds=3_600, killed=[])
    counts = json.loads(_run("count", environment))
    everything = [*first, *of_killed, *second]
    stored = sum(answer.stored for answer in everything)
    twice = counts["reviews"] - counts["items"]
    speed = rate(first)
    print(f"\n{database}: {reviewers} reviewers, {items:,} items, {twice:,} of them twice")
    print(f"  {speed:.0f} labels/s ({len(first):,} labels by {len(rest)} reviewers)")
    print(f"  {spent / (len(first) + len(of_killed)) * 1_000:.1f} ms CPU of the web processes per label")
    print(f"  {told('claim', [answer.had - answer.asked for answer in first])}")
    print(f"  {told('label', [answer.answered - answer.had for answer in first])}")
    print(f"  {told('claim and label', [answer.answered - answer.asked for answer in first])}")
    print(f"  {len(killed)} reviewers killed with {len(held)} items in their hands; {len(second)} came back")
    doubles = double_claims(everything, dict.fromkeys(counts["items meant twice"], 2))
    answered_twice = counts["answers"] - counts["reviews answered"]
    print(f"  held by more people at once than meant: {doubles}; reviews answered twice: {answered_twice}")
    print(f"  {counts['answers']:,} answers to {counts['reviews']:,} reviews")
    print(f"  {counts['items settled']:,} of {items:,} items settled")
    expected = [counts["reviews"], counts["reviews"], items, 0]
    if (
        counts["answers"] != counts["reviews"]
        or answered_twice
        or doubles
        or counts["items with the wrong number of answers"]
        or counts["items settled"] != items
        or counts["counters"] != expected
        # Of the killed ones' last answers some were stored without their knowing.
        or not counts["answers"] - len(killed) <= stored <= counts["answers"]
        or not held
    ):
        del counts["items meant twice"]
        raise SystemExit(f"The counts are wrong: {counts}, {stored} stored, {len(held)} held.")
    return speed


def measure_peer(folder: Path, annotators: int, items: int, seconds: float) -> float:
    """Label for a while in Label Studio on its own SQLite, and print; labels per second."""
    python = str(peer_python())
    data = folder / "label-studio"
    data.mkdir()
    with (folder / "peer.log").open("ab") as log:
        made = subprocess.run(
            [python, str(PEER_PROGRAM), "prepare", str(data), str(annotators)],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            check=False,
        )
    if made.returncode:
        raise SystemExit((folder / "peer.log").read_text()[-4_000:])
    tokens = json.loads(made.stdout.splitlines()[-1])
    people = [tokens[number::CLIENTS] for number in range(CLIENTS)]
    port = free_port()
    with running([python, str(PEER_PROGRAM), "serve", str(data), str(port)], folder=folder) as (web,):
        probe = OfThePeer(port, {"Authorization": f"Token {tokens[0]}"})
        until(lambda: _answers(lambda: probe.ask("GET", "/health")[0] == HTTP_OK), seconds=300)
        texts = _texts()
        for start in range(0, items, PEER_BATCH):
            tasks = [
                {"data": {"text": texts[number % len(texts)]}}
                for number in range(start, min(start + PEER_BATCH, items))
            ]
            status, body = probe.ask("POST", "/api/projects/1/import", tasks)
            if status != HTTP_CREATED:
                raise RuntimeError(f"the import answered {status}: {body}")
        label_together(folder, "peer", port, people, seconds=min(10, seconds), killed=[])  # warm
        before = cpu_seconds(web)
        answers, _ = label_together(folder, "peer", port, people, seconds=seconds, killed=[])
        spent = cpu_seconds(web) - before
    speed = rate(answers)
    doubles = double_claims(answers, {})
    print(f"\nLabel Studio 1.23.2, SQLite: {annotators} annotators, {items:,} tasks, {seconds:.0f} s")
    print(f"  {speed:.1f} labels/s ({len(answers):,} labels), {spent / len(answers) * 1_000:.0f} ms CPU each")
    print(f"  {told('claim and label', [answer.answered - answer.asked for answer in answers])}")
    print(f"  held by two at once: {doubles} of {len({answer.item for answer in answers}):,} tasks")
    return speed


def peer_python() -> Path:
    """The peer's Python, installed on the first call."""
    python = PEER / "bin" / "python"
    stamp = PEER / "installed"
    if not stamp.exists():
        print("Installing Label Studio into var/peers …", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(PEER)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PEER_PACKAGES], check=True)
        stamp.touch()
    return python


def _program(step: str) -> list[str]:
    return [sys.executable, "-m", "tests.benchmarks.audit_queue", "--step", step]


def _run(step: str, environment: dict[str, str], *arguments: str) -> str:
    return subprocess.run(
        [*_program(step), *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout


def _environment(folder: Path, url: str) -> dict[str, str]:
    dead = f"redis://127.0.0.1:{free_port()}"
    return {
        "DJANGO_SETTINGS_MODULE": "opsportal.settings",
        "ENV_FILE": str(folder / "none"),
        "DEBUG": "false",
        "SSL_REDIRECT": "false",
        "ALLOWED_HOSTS": "127.0.0.1",
        "SECRET_KEY": secrets.token_hex(32),
        "CUSTOMER_KEY": secrets.token_hex(32),
        "DATABASE_URL": url,
        "MODELS_DIR": str(folder / "models"),
        # Labelling needs neither store nor broker.
        "REDIS_URL": f"{dead}/0",
        "CELERY_BROKER_URL": f"{dead}/1",
        "OUTBOX_NUDGE": "false",
        "LOG_LEVEL": "ERROR",
    }


@contextmanager
def _set(environment: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _answers(ask: Callable[[], bool]) -> bool:
    try:
        return ask()
    except (OSError, http.client.HTTPException):
        return False


def main(given: argparse.Namespace) -> None:
    """Measure everything in one run and print it."""
    speeds: dict[str, float] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if "sqlite" in given.databases:
            speeds["SQLite"] = measure_portal(
                folder, "SQLite", f"sqlite:///{folder / 'portal.sqlite3'}", given.reviewers, given.items
            )
        binaries = find_binaries()
        if "postgres" in given.databases and binaries is None:
            print("\nPostgreSQL: not found on this machine")
        elif "postgres" in given.databases and binaries is not None:
            url = stack.enter_context(temporary_cluster(binaries, SAFE))
            speeds["PostgreSQL"] = measure_portal(folder, "PostgreSQL", url, given.reviewers, given.items)
        if given.peer_seconds:
            peer = measure_peer(folder, given.peer_annotators, given.items, given.peer_seconds)
            print()
            for database, speed in speeds.items():
                print(f"{database}: {speed / peer:.1f} × the labels per second of Label Studio")
            if speeds and min(speeds.values()) < 10 * peer:
                raise SystemExit("Less than ten times.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--reviewers", type=int, default=50)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--databases", nargs="+", default=["sqlite", "postgres"])
    parser.add_argument("--peer-annotators", type=int, default=8)
    parser.add_argument("--peer-seconds", type=float, default=60, help="0: without the peer")
    # Of the processes that it starts.
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--system", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    match wanted.step:
        case "prepare":
            prepare(wanted.reviewers, wanted.items)
        case "label":
            label(wanted.system, wanted.port, wanted.seconds)
        case "end_leases":
            end_leases()
        case "count":
            count()
        case _:
            main(wanted)
