"""Presence: several connections and hubs of a user are one presence, and the best state counts."""

from hypothesis import given
from hypothesis import strategies as st

from chatserver.hub.roster import Change, Present, Roster
from policies.vocabulary import PresenceState, Role, UserId

ANN = UserId("ann")
BOB = UserId("bob")
ONLINE = PresenceState.ONLINE
AWAY = PresenceState.AWAY
OFFLINE = PresenceState.OFFLINE


def ann(roster: Roster, hub: str, state: PresenceState) -> list[Change]:
    return roster.set(hub, ANN, Role.BUYER, "Ann", state)


def bob(roster: Roster, hub: str, state: PresenceState) -> list[Change]:
    return roster.set(hub, BOB, Role.SELLER, "Bob", state)


def test_coming_and_going_is_told() -> None:
    roster = Roster()
    assert ann(roster, "hub-1", ONLINE) == [Change(ANN, Role.BUYER, ONLINE)]
    assert roster.members() == [Present(ANN, Role.BUYER, "Ann", ONLINE)]
    assert ann(roster, "hub-1", AWAY) == [Change(ANN, Role.BUYER, AWAY)]
    assert roster.remove("hub-1", ANN) == [Change(ANN, Role.BUYER, OFFLINE)]
    assert roster.members() == []


def test_a_repeated_state_is_not_told_again() -> None:
    roster = Roster()
    ann(roster, "hub-1", ONLINE)
    assert ann(roster, "hub-1", ONLINE) == []


def test_a_second_device_on_another_hub_changes_nothing_until_it_is_the_last() -> None:
    roster = Roster()
    ann(roster, "hub-1", ONLINE)
    assert ann(roster, "hub-2", ONLINE) == []
    assert roster.remove("hub-1", ANN) == []
    assert roster.remove("hub-2", ANN) == [Change(ANN, Role.BUYER, OFFLINE)]


def test_online_somewhere_is_online_and_away_when_that_ends() -> None:
    roster = Roster()
    assert ann(roster, "hub-1", AWAY) == [Change(ANN, Role.BUYER, AWAY)]
    assert ann(roster, "hub-2", ONLINE) == [Change(ANN, Role.BUYER, ONLINE)]
    assert ann(roster, "hub-3", AWAY) == []
    assert roster.remove("hub-2", ANN) == [Change(ANN, Role.BUYER, AWAY)]
    assert roster.remove("hub-1", ANN) == []


def test_a_killed_server_takes_its_users_offline_but_not_those_who_are_elsewhere_too() -> None:
    roster = Roster()
    ann(roster, "hub-1", ONLINE)
    bob(roster, "hub-1", ONLINE)
    bob(roster, "hub-2", AWAY)
    assert roster.drop_hub("hub-1") == [Change(ANN, Role.BUYER, OFFLINE), Change(BOB, Role.SELLER, AWAY)]
    assert roster.drop_hub("hub-1") == []
    assert roster.members() == [Present(BOB, Role.SELLER, "Bob", AWAY)]


def test_offline_is_leaving() -> None:
    roster = Roster()
    ann(roster, "hub-1", ONLINE)
    assert ann(roster, "hub-1", OFFLINE) == [Change(ANN, Role.BUYER, OFFLINE)]
    assert roster.members() == []


def test_leaving_twice_or_without_having_come_is_not_told() -> None:
    roster = Roster()
    assert roster.remove("hub-1", ANN) == []
    assert ann(roster, "hub-1", OFFLINE) == []
    ann(roster, "hub-1", ONLINE)
    assert roster.remove("hub-2", ANN) == []


def test_a_new_role_is_told_and_a_new_name_is_shown() -> None:
    roster = Roster()
    roster.set("hub-1", ANN, Role.AGENT, "Ann", ONLINE)
    assert roster.set("hub-1", ANN, Role.AGENT, "Ann B.", ONLINE) == []
    assert roster.set("hub-1", ANN, Role.SENIOR_AGENT, "Ann B.", ONLINE) == [Change(ANN, Role.SENIOR_AGENT, ONLINE)]
    assert roster.members() == [Present(ANN, Role.SENIOR_AGENT, "Ann B.", ONLINE)]


USERS = st.sampled_from([ANN, BOB])
HUBS = st.sampled_from(["hub-1", "hub-2", "hub-3"])


@given(st.lists(st.tuples(HUBS, USERS, st.sampled_from([ONLINE, AWAY, OFFLINE, "remove", "drop"])), max_size=60))
def test_whoever_follows_the_changes_knows_who_is_present(steps: list[tuple[str, UserId, str]]) -> None:
    roster = Roster()
    followed: dict[UserId, PresenceState] = {}
    contributed: dict[tuple[str, UserId], PresenceState] = {}
    for hub, user, what in steps:
        if what == "drop":
            changes = roster.drop_hub(hub)
            contributed = {key: state for key, state in contributed.items() if key[0] != hub}
        elif what == "remove":
            changes = roster.remove(hub, user)
            contributed.pop((hub, user), None)
        else:
            state = PresenceState(what)
            changes = roster.set(hub, user, Role.BUYER, user, state)
            contributed.pop((hub, user), None)
            if state is not OFFLINE:
                contributed[hub, user] = state
        for change in changes:
            assert followed.get(change.user, OFFLINE) is not change.state, "told twice"
            followed[change.user] = change.state
        present = {user: state for user, state in followed.items() if state is not OFFLINE}
        assert {member.user: member.state for member in roster.members()} == present
        best = {
            user: ONLINE if ONLINE in states else AWAY
            for user in (ANN, BOB)
            if (states := [state for key, state in contributed.items() if key[1] == user])
        }
        assert present == best


def test_a_hub_that_says_all_it_knows_replaces_what_it_said_before() -> None:
    roster = Roster()
    roster.set("h1", UserId("bea"), Role.BUYER, "Bea", PresenceState.ONLINE)
    roster.set("h1", UserId("ada"), Role.AGENT, "Ada", PresenceState.ONLINE)
    roster.set("h2", UserId("bea"), Role.BUYER, "Bea", PresenceState.AWAY)
    sam = Present(UserId("sam"), Role.SELLER, "Sam", PresenceState.AWAY)
    assert sorted(roster.replace("h1", [sam])) == [
        Change(UserId("ada"), Role.AGENT, PresenceState.OFFLINE),
        Change(UserId("bea"), Role.BUYER, PresenceState.AWAY),
        Change(UserId("sam"), Role.SELLER, PresenceState.AWAY),
    ]
    assert roster.contributors() == {"h1", "h2"}
    assert roster.replace("h1", [sam]) == []
