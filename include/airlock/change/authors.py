"""Which log-in names the authors of an artifact have, whom its metadata names. Pure.

What metadata says is a stranger's word: it can only keep people from approving, never let them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from airlock.same_person import followed, log_ins_by_name, mailbox, may_be_same, parts_of, spelled


def names_of(authors: Sequence[str], known: Mapping[str, str]) -> tuple[str, ...]:
    """Return the log-in names that *authors* have or may have, sorted; to be compared by ``may_be_same``.

    Who is *known*, by the whole text or by every address in it, is whoever stands there, and whoever stands where that
    name is known in its turn. Anybody else is taken for all whom the text may mean: its name, its addresses, what is
    before the @, and those *known* under a similar name.
    """
    table = log_ins_by_name(known)
    names: set[str] = set()
    for author in authors:
        shown, addresses = parts_of(author)
        boxes = [table.get(spelled(one)) or table.get(spelled(mailbox(one))) for one in addresses]
        sure = [table[spelled(author)]] if spelled(author) in table else boxes
        names |= {log_in for log_ins in sure for log_in in log_ins or ()}
        if not sure or None in sure:
            names |= {shown, *addresses, *(one.partition("@")[0] for one in addresses)} - {""}
            names |= {log_in for name, log_in in known.items() if may_be_same(author, name)}
    return tuple(sorted(followed(names, table)))
