import pytest

from devskyy import ApiError, AsyncClient, Client, InvalidTask, NoSuchTask
from schemas.errors import InvalidRequest
from schemas.recording import Recording
from schemas.task import TaskRequest
from tests.simulators.platform import PlatformSimulator, Refusal, Script


def test_a_task_is_recorded_handed_in_and_replayed(client: Client, platform: PlatformSimulator) -> None:
    # Given a task that has ended
    task = client.run("hello", tier="simple")
    # When its recording is fetched and handed in again
    text = client.recording(task.task_id)
    uploaded = client.upload_recording(text)
    # Then the recording is whole, and the reply tells how to replay it
    assert Recording.parse(text.encode()).task_id == task.task_id
    assert uploaded.request == TaskRequest(prompt="hello", tier="simple", replay=uploaded.recording)
    assert client.run("hello", tier="simple", replay=uploaded.recording).answer == "A fine answer."
    assert platform.made("POST")[-1].body["replay"] == uploaded.recording


async def test_the_asynchronous_client_does_the_same(async_client: AsyncClient, platform: PlatformSimulator) -> None:
    task = await async_client.run("hello")
    text = await async_client.recording(task.task_id)
    platform.refuse(Refusal(503, retry_after_s=0.01), times=1)
    assert (await async_client.upload_recording(text)).request.prompt == "hello"


def test_a_damaged_recording_names_its_line(client: Client) -> None:
    # Given what was a recording
    text = client.recording(client.run("hello").task_id)
    # When it is handed in, changed or cut off, Then the line is named
    for damaged, line in ((text.replace("simple", "mega"), "line 3"), (text[:-9], "line 5"), ("\ud800", "line 1")):
        with pytest.raises((InvalidTask, InvalidRequest)) as caught:
            client.upload_recording(damaged)
        assert line in str(caught.value)


def test_a_task_that_goes_on_or_is_not_there_has_no_recording(client: Client, platform: PlatformSimulator) -> None:
    platform.scripts["slow"] = Script(held=True)
    accepted = client.submit("slow")
    with pytest.raises(ApiError, match="has not ended yet") as caught:
        client.recording(accepted.task_id)
    assert caught.value.problem.status == 409
    with pytest.raises(NoSuchTask):
        client.recording("nowhere")
