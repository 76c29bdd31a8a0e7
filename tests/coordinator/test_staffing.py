"""Who takes a task."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.catalogue import load
from actors.coordinator.staffing import pick_agent, staff
from schemas.agent import AgentSpec
from schemas.errors import InvalidRequest
from schemas.task import TaskRequest


def agent(*capabilities: str) -> AgentSpec:
    return AgentSpec(role="r", prompt="p", services=("local",), capabilities=capabilities)


AGENTS = {
    "builder": agent("architecture", "code"),
    "analyst": agent("reasoning", "analysis"),
    "writer": agent("documentation", "Writing", "general"),
    "guard": agent("security", "code"),
}


@pytest.mark.parametrize(
    ("domains", "wanted", "name", "reasons"),
    [
        (["writing"], [], "writer", ("'writer' is at home in what the prompt touches: writing",)),
        (["security", "code"], [], "guard", ("'guard' is at home in what the prompt touches: security, code",)),
        (["code"], [], "builder", ("'builder' is at home in what the prompt touches: code",)),
        (["architecture", "code"], ["security"], "guard", None),
        (["writing"], [" CODE "], "builder", ("'builder' has what was wanted: code",)),
        (["security"], ["code", "code"], "guard", None),
        ([], ["code", "writing"], "builder", None),
        (["cooking"], [], "writer", ("no agent's capabilities match the prompt; 'writer' is the first general one",)),
        ([], [], "writer", ("no agent's capabilities match the prompt; 'writer' is the first general one",)),
    ],
)
def test_the_agent_that_covers_most(
    domains: list[str], wanted: list[str], name: str, reasons: tuple[str, ...] | None
) -> None:
    picked, because = pick_agent(domains, wanted, AGENTS)
    assert picked == name
    assert because
    if reasons is not None:
        assert because == reasons


def test_what_no_agent_has_alone_is_named() -> None:
    _, reasons = pick_agent(["analysis"], ["code", "writing"], AGENTS)
    assert reasons == (
        "'builder' has what was wanted: code",
        "no agent has all that was wanted; 'builder' lacks writing",
    )


def test_a_capability_that_nobody_has_is_refused() -> None:
    with pytest.raises(InvalidRequest) as raised:
        pick_agent(["code"], ["code", "Juggling"], AGENTS)
    assert raised.value.field == "capabilities"
    assert raised.value.rule == (
        "no agent has 'juggling'; there are: analysis, architecture, code, documentation, general, reasoning, "
        "security, writing"
    )


PROFILES = ("code", "translation", "Review")


def test_a_profile_that_is_wanted_leaves_the_agent_to_the_other_wishes_and_the_prompt() -> None:
    # Given a kind of work that no agent has as a capability, When it is wanted alone, Then the prompt decides
    assert pick_agent(["security"], ["translation"], AGENTS, PROFILES)[0] == "guard"
    assert pick_agent([], [" REVIEW "], AGENTS, PROFILES)[0] == "writer"
    # And beside a capability, that one does
    picked, reasons = pick_agent(["writing"], ["translation", "security"], AGENTS, PROFILES)
    assert (picked, reasons) == ("guard", ("'guard' has what was wanted: security",))
    # And a profile that is a capability of agents too is both
    assert pick_agent(["writing"], ["code"], AGENTS, PROFILES)[0] == "builder"


def test_what_is_neither_a_capability_nor_a_profile_is_refused_with_what_there_is() -> None:
    with pytest.raises(InvalidRequest) as raised:
        pick_agent([], ["translation", "Juggling", "flying"], AGENTS, PROFILES)
    assert raised.value.field == "capabilities"
    assert raised.value.rule == (
        "no agent has 'juggling', 'flying', nor is that a profile; agents have: analysis, architecture, code, "
        "documentation, general, reasoning, security, writing; profiles are: code, review, translation"
    )


@pytest.mark.parametrize("profile", load().profiles)
def test_every_profile_of_ours_may_be_wanted(profile: str) -> None:
    agent_name, because = staff(TaskRequest(prompt="Hallo.", capabilities=(profile,)), (), load())
    assert agent_name in load().agents
    assert because


def test_without_a_general_agent_the_first_is_taken() -> None:
    agents = {name: spec for name, spec in AGENTS.items() if name != "writer"}
    picked, reasons = pick_agent([], [], agents)
    assert picked == "builder"
    assert reasons == ("no agent's capabilities match the prompt; 'builder' is the first of the catalogue",)


SKILLS = st.sampled_from(["code", "writing", "security", "analysis", "general"])


@given(
    st.lists(st.tuples(*[SKILLS] * 2), min_size=1, max_size=5),
    st.lists(SKILLS | st.text(max_size=5)),
    st.lists(SKILLS | st.text(max_size=5)),
)
def test_nobody_covers_more_than_the_one_picked(
    skills: list[tuple[str, ...]], domains: list[str], wanted: list[str]
) -> None:
    agents = {str(place): agent(*each) for place, each in enumerate(skills)}
    try:
        picked, reasons = pick_agent(domains, wanted, agents)
    except InvalidRequest:
        known = {skill for each in skills for skill in each}
        assert {skill.strip().casefold() for skill in wanted} - known
        return
    assert reasons
    assert (picked, reasons) == pick_agent(domains, wanted, agents)
    covered = {
        name: len(set(spec.capabilities) & {w.strip().casefold() for w in wanted}) for name, spec in agents.items()
    }
    assert covered[picked] == max(covered.values())
