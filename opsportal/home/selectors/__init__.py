"""Questions that reach across the apps: what needs me now, what an ID means, who did what."""
