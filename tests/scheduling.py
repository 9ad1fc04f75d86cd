"""Which tests share a worker: those that share a portal. Everything else goes wherever there is room.

xdist's own groups change the IDs of tests, which pytest 9.2 no longer lets it; they have no effect there.
"""

from xdist.scheduler import LoadScopeScheduling

# Beginnings of IDs → the group. What axe judges takes as long as all the rest in a browser.
_GROUPS = {
    "tests/browser/test_accessibility.py": "axe",
    "tests/browser/": "browser",
    "tests/demo/test_running.py": "demo",
}


class PortalScheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Gives a group to one worker, the large ones first, and every other test to any."""

    def _split_scope(self, nodeid: str) -> str:
        for beginning, group in _GROUPS.items():
            if nodeid.startswith(beginning):
                return group
        return nodeid
