"""Pages that gather what needs a person now."""
