"""Which tests share a worker: those that share a portal. Everything else goes wherever there is room.

xdist's own groups change the IDs of tests, which pytest 9.2 no longer lets it; they have no effect there.
"""

from xdist.scheduler import LoadScopeScheduling

# Beginnings of IDs → the group. Two groups, so that few portals run at a time; what axe judges takes as
# long as all the rest in a browser.
_GROUPS = {
    "tests/browser/test_accessibility.py": "pages",
    "tests/browser/": "journeys",
    "tests/demo/test_running.py": "pages",
}


class PortalScheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Gives a group to one worker, the large ones first, and every other test to any."""

    def _split_scope(self, nodeid: str) -> str:
        for beginning, group in _GROUPS.items():
            if nodeid.startswith(beginning):
                return group
        return nodeid
