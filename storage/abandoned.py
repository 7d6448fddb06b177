"""Transactions that a process has begun and will not end.

MongoDB does not tie a transaction to a connection. One that a killed process left open keeps its locks for
``transactionLifetimeLimitSeconds``, a minute unless the operator has said otherwise, and for so long nobody can write
to the room that it was about. Whoever may use a database may also end sessions of their own, and much earlier.
"""

from typing import Any, Final

from pymongo.errors import OperationFailure

from policies.errors import Unavailable
from storage.client import APP_NAME, Database
from storage.errors import NotOffered

_NOT_OFFERED: Final = frozenset({13, 20, 59, 115, 8000, 40324})
"""Unauthorized, IllegalOperation, CommandNotFound, CommandNotSupported, AtlasError, unrecognized pipeline stage: what
servers answer that do not know ``$currentOp`` or do not allow it."""


async def end_abandoned(database: Database, idle_s: float) -> int:
    """End every transaction of this server's processes that has done nothing for so long.

    What it had written is undone. Should its process live after all, it tries again, as after any lost race.

    Args:
        idle_s: longer than a living transaction ever pauses.

    Returns:
        How many there were.

    Raises:
        NotOffered: MongoDB does not tell, or does not let this user end them; it ends them by its own limit then.
        Unavailable: no answer in time.
    """
    abandoned: dict[str, Any] = {
        "appName": APP_NAME,
        "active": False,
        "transaction.timeInactiveMicros": {"$gt": round(idle_s * 1_000_000)},
    }
    stages = [{"$currentOp": {"idleSessions": True}}, {"$match": abandoned}, {"$project": {"lsid": 1}}]
    try:
        answer = await database.admin_command({"aggregate": 1, "pipeline": stages, "cursor": {}})
        sessions = [{"id": each["lsid"]["id"]} for each in answer["cursor"]["firstBatch"]]
        if sessions:
            await database.admin_command({"killSessions": sessions})
    except OperationFailure as error:
        if error.code in _NOT_OFFERED:
            raise NotOffered(str(error.code)) from error
        raise Unavailable("The database did not end abandoned transactions.") from error
    return len(sessions)
