"""The peer of tests.benchmarks.audit_queue. Runs with the peer's Python, which has Label Studio 1.23.2.

python label_studio_peer.py prepare FOLDER ANNOTATORS  makes its SQLite, people and project 1; prints tokens
python label_studio_peer.py serve FOLDER PORT          serves it as `label-studio start` does, on loopback
"""

import json
import os
import sys
from pathlib import Path

CONFIG = """
<View>
  <Text name="text" value="$text"/>
  <Choices name="label" toName="text" choice="single">
    <Choice value="negative"/><Choice value="neutral"/><Choice value="positive"/>
  </Choices>
</View>
"""


def configure(folder: Path) -> None:
    """Its own folder; and nothing is sent to anybody."""
    os.environ.update(
        LABEL_STUDIO_BASE_DATA_DIR=str(folder),
        LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN="true",
        COLLECT_ANALYTICS="false",
        LATEST_VERSION_CHECK="false",
        SENTRY_DSN="",
        FRONTEND_SENTRY_DSN="",
    )


def prepare(annotators: int) -> None:
    """Migrate; write the people, their organisation and an empty project in the default order."""
    from label_studio import server

    server._setup_env()
    server._apply_database_migrations()
    from organizations.functions import create_organization
    from organizations.models import Organization
    from projects.models import Project
    from rest_framework.authtoken.models import Token
    from users.models import User

    tokens = []
    for number in range(annotators):
        user = User.objects.create_user(f"annotator-{number}@example.com", "a password for a benchmark")
        if number == 0:
            create_organization("Benchmark", user, legacy_api_tokens_enabled=True)
        organisation = Organization.objects.get()
        organisation.add_user(user)
        user.active_organization = organisation
        user.save()
        tokens.append(Token.objects.get_or_create(user=user)[0].key)
    Project.objects.create(
        title="Sentences", label_config=CONFIG, created_by=User.objects.first(), organization=organisation
    )
    print(json.dumps(tokens))


def serve(folder: Path, port: int) -> None:
    """Serve as the command does."""
    from label_studio.server import main

    sys.argv = [
        *("label-studio", "start", "--no-browser", "--data-dir", str(folder), "--log-level", "ERROR"),
        *("--internal-host", "127.0.0.1", "--port", str(port)),
    ]
    main()


if __name__ == "__main__":
    configure(Path(sys.argv[2]))
    if sys.argv[1] == "prepare":
        prepare(int(sys.argv[3]))
    else:
        serve(Path(sys.argv[2]), int(sys.argv[3]))
