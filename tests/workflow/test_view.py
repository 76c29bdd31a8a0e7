from actors.workflow.state import State
from actors.workflow.view import view_of
from actors.workflow.work import Assignment, Outcome
from tests.workflow.drive import Drive, created

POSTS = {
    "inputs": {"product": {"type": "string"}},
    "tasks": {
        "posts": {"function": "write", "map": {"over": "['a', 'b', 'c']"}},
        "review": {"approval": "Publish these of ${inputs.product}? ${tasks.posts.output}"},
    },
}


def test_an_approval_asks_with_the_values_of_its_expressions() -> None:
    # Given a workflow that asks a person about what was written
    drive = Drive(created(POSTS, {"product": "scarf"}), answer=lambda state, work: Outcome(work, output="A post."))
    # When it has come to that
    view = view_of(drive.run())
    # Then whoever looks sees the question as a person is to read it
    assert view.tasks["review"].asks == 'Publish these of scarf? ["A post.","A post.","A post."]'
    assert view.tasks["review"].waits_for == "review"


def test_what_is_too_large_to_be_shown_is_asked_as_it_was_written() -> None:
    # Given one whose question refers to what lies in the object store
    def large(state: State, work: Assignment) -> Outcome:
        return Outcome(work, blob=f"blob-{work.place[1]}", bytes=5_000_000)

    drive = Drive(created(POSTS, {"product": "scarf"}), answer=large)
    drive.blobs = {f"blob-{number}": "A long post." for number in range(3)}
    # When it has come to that
    view = view_of(drive.run())
    # Then the question is there all the same
    assert view.tasks["review"].asks == "Publish these of ${inputs.product}? ${tasks.posts.output}"


def test_the_items_that_are_over_are_counted() -> None:
    # Given a map of three items, of which the second goes on
    drive = Drive(
        created(POSTS, {"product": "scarf"}),
        answer=lambda state, work: None if work.place[1] == 1 else Outcome(work, output="A post."),
    )
    # When the others are over
    view = view_of(drive.run())
    # Then two of three are
    assert (view.tasks["posts"].settled, view.tasks["posts"].size) == (2, 3)
