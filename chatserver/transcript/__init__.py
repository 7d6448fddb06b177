"""The case file: a room's whole record, for people (HTML, PDF) and for verification by anybody (JSON).

The JSON form, version 2, is complete: the other two are pictures of it. It is one object:

==================  ====================================================================================================
``format``          ``"dispute-chat.case-file"``
``version``         ``2``; another number means another format. Version 1 has none of ``whole``, ``shown``, ``flag``
``generated_at``    when; times are RFC 3339 in UTC with exactly three decimals
``generated_for``   ``{"role", "user"?}``: the reader's role in the room. ``system`` without a user is the marketplace's
                    back end, which reads everything
``room``            ``{"id", "kind", "order_id", "buyer": {"id", "name"}, "seller": {"id", "name"}, "created_at",
                    "closed"}``
``order``           the order's facts and what its events add up to, as ``GET /v1/orders/{order_id}`` tells them; not
                    there for somebody who is no longer a party of the order
``after``           ``{"seq", "hash"}``: the place that the first entry follows: seq 0, unless it is an annex that was
                    cut to its latest entries
``head``            ``{"seq", "hash"}`` of the last entry
``entries``         the entries, without a hole: ``{"seq", "id", "kind", "author": {"id", "role", "name"}, "at", "body",
                    "visibility", "command_id", "salt"?, "digest", "prev_hash", "hash", "whole"?, "shown"?, "flag"?}``;
                    bytes are lower-case hex
                    ``whole``: ``{"salt", "texts"}``: the whole of texts that are masked in the body: for staff and the
                    author, and for everybody once support has released them
                    ``shown``: how staff have said that the entry is shown, over its ``visibility``: ``all`` or
                    ``withheld``; a later entry of kind ``message.released`` or ``message.redacted`` says so, too
                    ``flag``: for staff: what was found wrong, and what they said to that, as the API tells it
``dispute``         of a dispute's room: its state after the last entry, as ``GET /v1/disputes/{id}`` told the reader
``annexes``         further records, each ``{"room", "after", "head", "entries"}`` with a chain of its own: for a
                    dispute the conversation in the order's room, and for staff the staff log
==================  ====================================================================================================

To verify it in any language, for the file itself and for each annex (``storage/chain.py`` defines the bytes: canonical
JSON, salted digest, hash):

1.  Where ``after.seq`` is 0, ``after.hash`` must be SHA-256("dispute-chat.room.v1\\n" || room id).
2.  The first entry has the seq after ``after.seq`` and ``prev_hash`` equal to ``after.hash``; every further one has the
    next seq, and ``prev_hash`` equal to the ``hash`` before it. ``at`` never goes back.
3.  ``digest`` = SHA-256(salt || canonical JSON of {"body": body, "name": author's name}). An entry without ``salt`` has
    an empty body and name: its content was withheld from the reader, or erased for good, and only its digest is here.
    Where a body has ``masked``, parts of texts are hidden in it: ``masked.fields`` names them, and ``masked.digest`` =
    SHA-256(salt || canonical JSON of the texts) with the salt and the texts of ``whole``, where that is there.
4.  ``hash`` = SHA-256("dispute-chat.entry.v1\\n" || prev_hash || canonical JSON of [room id, seq, kind, author id,
    author role, at, visibility, command_id, digest]), and ``id`` is the first 32 digits of it.
5.  ``head`` is the last entry's seq and hash, or ``after`` where there are no entries.
6.  Of a dispute: the state that its entries add up to by the rules is the one that ``dispute`` tells.

What a file cannot prove by itself: that nothing was added after its head (compare the head with one known from
elsewhere), what the content was that it does not hold, and what is not part of a chain (``generated_at``, the names
and facts under ``room`` and ``order``, and every ``flag``). ``chatserver verify FILE`` does all of this, and says what
it could not check.
"""
