"""Where answers go: each user has inboxes of its own, which nobody else may read.

Inboxes that services answer to have a place of their own. Whoever may answer a user can publish there, and nowhere
else among its inboxes: not where JetStream answers nats-py, nor where it delivers what a consumer pulls.
"""

PREFIX = "_INBOX_"
OUTSIDE = "_INBOX."
"""Where clients of other accounts and tools have theirs."""
IMPORTED = "_R_."
"""What stands for the inbox of a client in another account."""


def inbox_of(user: str) -> str:
    return PREFIX + user


def answers_of(user: str) -> str:
    """What the subjects begin with that services answer a user on."""
    return f"{PREFIX}{user}.answers"


def asker_of(reply: str) -> str:
    """The user that an inbox belongs to; empty where it is nobody's in particular."""
    return reply.split(".", 1)[0].removeprefix(PREFIX) if reply.startswith(PREFIX) else ""


def may_be_answered(reply: str) -> bool:
    """Whether a reply subject is an inbox. On any other an answer would be a message that its asker may not send."""
    return reply.startswith((PREFIX, OUTSIDE, IMPORTED))
