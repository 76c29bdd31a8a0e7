"""TEMPORARY: replaced whole by the classifier's author."""
def pick_agent(domains, wanted, agents): return next(iter(agents)), ()
