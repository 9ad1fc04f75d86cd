"""The people of the demo, one per job, and the key of a machine that may do everything a key can."""

from dataclasses import dataclass

from opsportal.accounts.keyring import token_hash
from opsportal.accounts.models import MAX_KEY_AGE, ApiKey, User
from opsportal.accounts.permissions import SCOPES, Role
from opsportal.accounts.services import create_api_key, create_person, grant_role, service_account
from opsportal.core import clock


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with a job."""

    username: str
    first_name: str
    last_name: str
    roles: tuple[Role, ...]


PEOPLE = (
    Person("ana", "Ana", "Ruiz", (Role.AGENT,)),
    Person("max", "Max", "Weber", (Role.ACCOUNT_MANAGER,)),
    Person("priya", "Priya", "Nair", (Role.PRIVACY_OFFICER,)),
    Person("otto", "Otto", "Lindqvist", (Role.AUDITOR,)),
    Person("nora", "Nora", "Silva", (Role.AUDITOR,)),
    Person("sam", "Sam", "Adeyemi", (Role.AUDITOR,)),
    Person("lena", "Lena", "Hoffmann", (Role.AUDIT_LEAD, Role.APPROVER)),
    # Approves what lena proposes.
    Person("vera", "Vera", "Novak", (Role.APPROVER,)),
    Person("dana", "Dana", "Okafor", (Role.DATA_SCIENTIST,)),
    Person("root", "Robin", "Root", (Role.ADMINISTRATOR,)),
)

# The account that the demo's key acts as; it may submit overrides of every kind.
MACHINE = "demo-machine"
MACHINE_ROLES = (Role.AGENT, Role.ACCOUNT_MANAGER, Role.PRIVACY_OFFICER)


def load_people(password: str) -> None:
    """Create whoever is missing; everybody signs in with `password` afterwards.

    Cheap when nothing is missing: one password is checked for all of them, since they are set together.
    """
    known = {user.username: user for user in User.objects.filter(username__in=[p.username for p in PEOPLE])}
    last = known.get(PEOPLE[-1].username)
    if len(known) == len(PEOPLE) and last is not None and last.check_password(password):
        return
    for person in PEOPLE:
        user = known.get(person.username) or create_person(
            actor=None, username=person.username, roles=person.roles
        )
        user.first_name, user.last_name = person.first_name, person.last_name
        user.set_password(password)
        user.save(update_fields=["first_name", "last_name", "password"])


def usable_key(token: str) -> str:
    """`token` if it still works and has every scope, else the token of a new key."""
    usable = ApiKey.objects.filter(
        secret_hash=token_hash(token), revoked_at=None, expires_at__gt=clock.now(), owner__is_active=True
    ).first()
    if usable and set(usable.scopes) == set(SCOPES):
        return token
    owner = service_account(name=MACHINE)
    for role in MACHINE_ROLES:
        grant_role(actor=None, user=owner, role=role)
    _, new_token = create_api_key(
        actor=None, name="Demo", scopes=list(SCOPES), owner=owner, days=MAX_KEY_AGE.days
    )
    return new_token
