"""Every sender gets exactly one answer, in whatever order its submission is heard, read and answered."""

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from actors.intake.replies import KEEP_ANSWER_S, KEEP_S, Replies, fingerprint

SUBJECT = "devskyy.v1.submit.default"
BODIES = st.sampled_from([b"one", b"two", b"three"])
"""Few, so that many submissions are equal to the byte."""


class Submissions(RuleBasedStateMachine):
    """Each submission is heard once, directly, and read once, from the stream; in any order, beside all others."""

    to_hear: Bundle[bytes] = Bundle("to_hear")
    to_read: Bundle[bytes] = Bundle("to_read")

    def __init__(self) -> None:
        super().__init__()
        self.replies = Replies(clock=lambda: 0.0)  # no time passes, so nothing is forgotten
        self.unheard: list[bytes] = []
        self.unread: list[bytes] = []
        self.senders: dict[str, bytes] = {}
        """What each reply subject sent."""
        self.got: dict[str, bytes] = {}
        """The answer that each reply subject got."""
        self.answers: dict[bytes, bytes] = {}
        """What each answer answers."""

    @rule(targets=(to_hear, to_read), body=BODIES, times=st.integers(1, 3))
    def submit(self, body: bytes, times: int) -> object:
        self.unheard += [body] * times
        self.unread += [body] * times
        return multiple(*[body] * times)

    @rule(body=consumes(to_hear))
    def hear(self, body: bytes) -> None:
        self._hear(body)

    @rule(body=consumes(to_read))
    def read(self, body: bytes) -> None:
        self._read(body)

    def _hear(self, body: bytes) -> None:
        self.unheard.remove(body)
        sender = f"inbox.{len(self.senders)}"
        self.senders[sender] = body
        answer = self.replies.heard(fingerprint(SUBJECT, body), sender)
        if answer is not None:
            self._deliver(sender, answer)

    def _read(self, body: bytes) -> None:
        self.unread.remove(body)
        answer = b"task %d" % len(self.answers)
        self.answers[answer] = body
        sender = self.replies.answered(fingerprint(SUBJECT, body), answer)
        if sender is not None:
            self._deliver(sender, answer)

    def _deliver(self, sender: str, answer: bytes) -> None:
        assert sender not in self.got, "a second answer"
        assert answer not in self.got.values(), "an answer that another sender has"
        assert self.senders[sender] == self.answers[answer], "the answer to another body"
        self.got[sender] = answer

    @invariant()
    def whoever_was_heard_and_read_is_answered(self) -> None:
        for body in set(self.senders.values()):
            heard = sum(sent == body for sent in self.senders.values())
            read = sum(answered == body for answered in self.answers.values())
            assert sum(self.senders[sender] == body for sender in self.got) == min(heard, read)

    def teardown(self) -> None:
        # What is still on its way arrives in the end.
        for body in self.unheard.copy():
            self._hear(body)
        for body in self.unread.copy():
            self._read(body)
        assert self.got.keys() == self.senders.keys()
        assert set(self.got.values()) == set(self.answers)


TestSubmissions = Submissions.TestCase


def test_the_subject_is_part_of_what_makes_two_submissions_equal() -> None:
    assert fingerprint("devskyy.v1.submit.one", b"x") != fingerprint("devskyy.v1.submit.two", b"x")


class Clock:
    def __init__(self) -> None:
        self.moment = 1000.0

    def __call__(self) -> float:
        return self.moment


def test_an_answer_that_nobody_waited_for_goes_to_no_later_sender_of_the_same_bytes() -> None:
    clock = Clock()
    table, one = Replies(clock), fingerprint(SUBJECT, b"one")
    # Given an answer to a submission that was sent without a reply subject
    table.answered(one, b"old")
    # When the time is over in which its other half could have come
    clock.moment += KEEP_ANSWER_S + 0.1
    # Then a later sender gets the answer to its own
    assert table.heard(one, "inbox.new") is None
    assert table.answered(one, b"new") == "inbox.new"


def test_an_answer_waits_a_moment_for_its_sender_to_be_heard() -> None:
    clock = Clock()
    table, one = Replies(clock), fingerprint(SUBJECT, b"one")
    table.answered(one, b"answer")
    clock.moment += KEEP_ANSWER_S / 2
    assert table.heard(one, "inbox.0") == b"answer"


def test_a_sender_waits_longer_than_an_answer() -> None:
    clock = Clock()
    table, one = Replies(clock), fingerprint(SUBJECT, b"one")
    table.heard(one, "inbox.0")
    clock.moment += KEEP_S - 1
    assert table.answered(one, b"answer") == "inbox.0"


def test_a_body_that_is_sent_again_and_again_is_not_kept_for_ever() -> None:
    clock = Clock()
    table, one = Replies(clock), fingerprint(SUBJECT, b"one")
    # Given a first sender whose answer never comes, and one more each second
    for number in range(1000):
        table.heard(one, f"inbox.{number}")
        clock.moment += 1
    # Then those of the last minute are kept, and the oldest of them is answered first
    assert len(table) <= KEEP_S + 1
    assert table.answered(one, b"answer") == f"inbox.{1000 - int(KEEP_S)}"


def test_answers_that_nobody_fetches_are_not_kept_for_ever() -> None:
    clock = Clock()
    table, one = Replies(clock), fingerprint(SUBJECT, b"one")
    for number in range(1000):
        table.answered(one, b"%d" % number)
        clock.moment += 1
    assert len(table) <= KEEP_ANSWER_S + 1
