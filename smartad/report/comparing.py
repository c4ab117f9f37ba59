"""The comparison section."""
def section(store, book, baseline):
    return {"why": "no baseline"}
