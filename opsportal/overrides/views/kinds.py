"""What the pages of the three kinds of override are called and who may use them."""

from dataclasses import dataclass

from django.urls import reverse

from opsportal.accounts.models import User
from opsportal.overrides.models import Action, Kind


@dataclass(frozen=True, slots=True)
class KindPages:
    """The words and addresses of one kind. `look` is the kind of its badges and notices."""

    kind: Kind
    slug: str
    noun: str
    plural: str
    look: str
    icon: str
    purpose: str
    new_title: str
    new_button: str
    example: str
    new_name: str
    list_name: str
    view: str
    write: str
    withdraw: str

    @property
    def list_url(self) -> str:
        return reverse(self.list_name)

    @property
    def new_url(self) -> str:
        return reverse(self.new_name)

    @property
    def bulk_url(self) -> str:
        return reverse("overrides-bulk", args=[self.kind])

    @property
    def export_url(self) -> str:
        return reverse("overrides-export", args=[self.kind])

    def allows(self, user: User, action: str) -> bool:
        """Whether the person may add, extend or withdraw this kind."""
        return user.can(self.withdraw if action == Action.WITHDRAW else self.write)

    def allows_undo_of(self, user: User, action: str) -> bool:
        """Whether the person may undo such a change: undoing the addition of an opt-out withdraws it."""
        return self.allows(user, Action.WITHDRAW if action == Action.ADD else Action.RESTORE)


PAGES = {
    Kind.BLOCK: KindPages(
        kind=Kind.BLOCK,
        slug="blocks",
        noun="block",
        plural="blocks",
        look="block",
        icon="block",
        purpose="Products that no ranker may show. A block beats every boost.",
        new_title="Block products",
        new_button="Block these products",
        example="Recall of the supplier, must not be shown until it is cleared",
        new_name="overrides-block-new",
        list_name="overrides-blocks",
        view="overrides.view",
        write="blocks.write",
        withdraw="blocks.write",
    ),
    Kind.BOOST: KindPages(
        kind=Kind.BOOST,
        slug="boosts",
        noun="boost",
        plural="boosts",
        look="boost",
        icon="boost",
        purpose="Products whose score is multiplied for a limited time.",
        new_title="Boost products",
        new_button="Boost these products",
        example="Winter campaign, agreed with marketing",
        new_name="overrides-boost-new",
        list_name="overrides-boosts",
        view="overrides.view",
        write="boosts.write",
        withdraw="boosts.write",
    ),
    Kind.OPT_OUT: KindPages(
        kind=Kind.OPT_OUT,
        slug="opt-outs",
        noun="opt-out",
        plural="opt-outs",
        look="privacy",
        icon="privacy",
        purpose="Customers who told us not to personalise, train or share. Their IDs are stored nowhere.",
        new_title="Record an opt-out",
        new_button="Record the opt-out",
        example="The customer asked on the phone not to be profiled",
        new_name="overrides-opt-out-new",
        list_name="overrides-opt-outs",
        view="optouts.view",
        write="optouts.write",
        withdraw="optouts.withdraw",
    ),
}


class KindConverter:
    """`blocks`, `boosts` or `opt-outs` in an address."""

    regex = "blocks|boosts|opt-outs"

    def to_python(self, value: str) -> Kind:
        return next(pages.kind for pages in PAGES.values() if pages.slug == value)

    def to_url(self, value: Kind) -> str:
        return PAGES[value].slug
