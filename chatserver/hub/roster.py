"""Who is present in a room, put together from what every hub contributes."""

from collections.abc import Iterable
from typing import NamedTuple

from policies.vocabulary import PresenceState, Role, UserId


class Change(NamedTuple):
    """A presence that the members of the room are to be told."""

    user: UserId
    role: Role
    state: PresenceState


class Present(NamedTuple):
    """A user who is in the room now."""

    user: UserId
    role: Role
    name: str
    state: PresenceState


class _Presence:
    """One user and the state on each hub where they have the room open."""

    __slots__ = ("name", "role", "states")

    def __init__(self, role: Role, name: str) -> None:
        self.role = role
        self.name = name
        self.states: dict[str, PresenceState] = {}

    @property
    def state(self) -> PresenceState:
        """The best of all: who is online somewhere is online."""
        if not self.states:
            return PresenceState.OFFLINE
        return PresenceState.ONLINE if PresenceState.ONLINE in self.states.values() else PresenceState.AWAY


class Roster:
    """Presence in one room as one hub sees it.

    A hub contributes one state for each of its users in the room, the best over that user's connections; the user's
    presence is the best over all hubs. Every method returns what changed by that for the members of the room, which is
    nothing while another hub's contribution outweighs it.
    """

    __slots__ = ("_users",)

    def __init__(self) -> None:
        self._users: dict[UserId, _Presence] = {}

    def set(self, hub: str, user: UserId, role: Role, name: str, state: PresenceState) -> list[Change]:
        """The hub says that the user is online or away; ``OFFLINE`` is the same as `remove`."""
        if state is PresenceState.OFFLINE:
            return self.remove(hub, user)
        presence = self._users.get(user)
        if presence is None:
            presence = self._users[user] = _Presence(role, name)
        before = (presence.state, presence.role)
        presence.role = role
        presence.name = name
        presence.states[hub] = state
        best = presence.state
        return [Change(user, role, best)] if (best, role) != before else []

    def remove(self, hub: str, user: UserId) -> list[Change]:
        """The user has no connection in the room on this hub any more."""
        presence = self._users.get(user)
        if presence is None or hub not in presence.states:
            return []
        before = presence.state
        del presence.states[hub]
        best = presence.state
        if best is PresenceState.OFFLINE:
            del self._users[user]
        return [Change(user, presence.role, best)] if best is not before else []

    def replace(self, hub: str, present: Iterable[Present]) -> list[Change]:
        """All that the hub contributes now; whoever is not named has left there."""
        named = {one.user: one for one in present}
        gone = [user for user, seen in self._users.items() if hub in seen.states and user not in named]
        changes = [change for user in gone for change in self.remove(hub, user)]
        for one in named.values():
            changes += self.set(hub, one.user, one.role, one.name, one.state)
        return changes

    def contributors(self) -> frozenset[str]:
        """The hubs that contribute anything."""
        return frozenset(hub for seen in self._users.values() for hub in seen.states)

    def drop_hub(self, hub: str) -> list[Change]:
        """The hub is gone, and with it all that it contributed."""
        return [change for user in list(self._users) for change in self.remove(hub, user)]

    def members(self) -> list[Present]:
        """Who is present, in the order in which they came."""
        return [Present(user, seen.role, seen.name, seen.state) for user, seen in self._users.items()]
