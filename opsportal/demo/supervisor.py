"""The demo's processes under one supervisor, in the foreground: Ctrl-C ends them all."""

import os
import pwd
import shlex
import subprocess
import sys
from typing import NoReturn

from opsportal.demo.environment import FOLDER, VAR, store_port
from opsportal.demo.processes import RUN, SUPERVISOR_PID
from opsportal.demo.store import server_command

LOGS = VAR / "log"
_CONFIG = VAR / "supervisord.conf"

# Workers × blocking threads bound the requests in work; the backlog holds the rest.
_WEB_WORKERS = 2
_WEB_THREADS = 8


def programs(port: int) -> dict[str, list[str]]:
    """Name → command line, in the order in which they start."""
    python = sys.executable
    celery = [python, "-m", "celery", "-A", "opsportal"]
    store_folder = VAR / "store"
    store_folder.mkdir(exist_ok=True)
    return {
        "store": server_command(port=store_port(), folder=store_folder),
        "web": [
            *(python, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port)),
            *("--workers", str(_WEB_WORKERS), "--blocking-threads", str(_WEB_THREADS)),
            *("--backpressure", str(4 * _WEB_THREADS), "--backlog", "1024"),
            *(
                "--respawn-failed-workers",
                "--respawn-interval",
                "0.5",
                "--workers-kill-timeout",
                "3",
                "--log-level",
                "warning",
            ),
            "opsportal.wsgi:application",
        ],
        "pusher": [python, "manage.py", "push", "--loop"],
        "worker": [
            *(*celery, "worker", "--queues", "push,default", "--concurrency", "2", "--loglevel", "warning"),
            *("--without-gossip", "--without-mingle", "--hostname", "demo@localhost", "-O", "fair"),
        ],
        # Every tick is seconds away: a schedule in memory needs no file that a crash could spoil.
        "beat": [
            *(*celery, "beat", "--scheduler", "celery.beat:Scheduler", "--loglevel", "warning"),
            *("--pidfile", ""),
        ],
        # One child, which keeps models in memory.
        "explainer": [
            *(*celery, "worker", "--queues", "explain", "--concurrency", "1", "--pool", "prefork"),
            *("--loglevel", "warning", "--without-gossip", "--without-mingle"),
            *("--hostname", "explainer@localhost"),
        ],
        # Apart, so that nobody's rule or sample waits for explanations.
        "auditor": [
            *(*celery, "worker", "--queues", "audit", "--concurrency", "1", "--pool", "prefork"),
            *("--loglevel", "warning", "--without-gossip", "--without-mingle"),
            *("--hostname", "auditor@localhost"),
        ],
    }


def run(*, port: int) -> NoReturn:
    """Replace this process by the supervisor. It starts everything and restarts whatever ends."""
    for folder in (RUN, LOGS, VAR / "static"):
        folder.mkdir(exist_ok=True)
    _CONFIG.write_text(configuration(port), encoding="utf-8")
    # Speaks once the pages answer, then ends.
    subprocess.Popen([sys.executable, "-m", "opsportal.demo.announce"], cwd=FOLDER)
    os.chdir(FOLDER)
    command = [sys.executable, "-m", "supervisor.supervisord", "--nodaemon", "--configuration", str(_CONFIG)]
    os.execv(sys.executable, command)  # noqa: S606  fixed words


def configuration(port: int) -> str:
    """The supervisor's configuration file: each program of `programs`, restarted whenever it ends."""
    sections = {
        "supervisord": {
            "nodaemon": "true",
            "user": pwd.getpwuid(os.geteuid()).pw_name,
            "directory": str(FOLDER),
            "pidfile": str(SUPERVISOR_PID),
            "logfile": str(LOGS / "supervisord.log"),
            "childlogdir": str(LOGS),
            # Says what ended and was started again, not that all is well.
            "loglevel": "warn",
        }
    }
    for priority, (name, command) in enumerate(programs(port).items()):
        launch = [sys.executable, "-m", "opsportal.demo.launch", name, *command]
        sections[f"program:{name}"] = {
            "command": shlex.join(launch),
            "priority": str(priority),
            "autorestart": "true",
            # Never give up: with 0 every start counts as a success. `launch` pauses between starts.
            "startsecs": "0",
            # The programs stop their own children; whatever is left after the wait is killed as a group.
            "stopwaitsecs": "8",
            "killasgroup": "true",
            "redirect_stderr": "true",
            "stdout_logfile": str(LOGS / f"{name}.log"),
            "stdout_logfile_maxbytes": "5MB",
            "stdout_logfile_backups": "1",
        }
    # One group, so that all are told to stop at once rather than one after the other.
    sections["group:portal"] = {"programs": ",".join(programs(port))}
    return "\n".join(
        f"[{title}]\n" + "".join(f"{key} = {value.replace('%', '%%')}\n" for key, value in section.items())
        for title, section in sections.items()
    )
