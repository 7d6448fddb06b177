"""Which names parties may appear under. A name is read once, however often somebody connects."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from policies.screener import Screener

REMEMBERED: Final = 10_000
"""Names remembered; the least recently used one goes first."""


class DisplayNames:
    """See the module.

    Args:
        screener: by the rules in force.
        most: names remembered.
    """

    def __init__(self, screener: Callable[[], Screener], most: int = REMEMBERED) -> None:
        self._screener = screener
        self._most = most
        self._by: Screener | None = None
        self._fit: OrderedDict[str, bool] = OrderedDict()

    def fit(self, name: str) -> bool:
        """Whether a name may be shown: see ``Screener.name_is_fit``."""
        screener = self._screener()
        if screener is not self._by:
            self._fit.clear()  # other rules
            self._by = screener
        fit = self._fit.get(name)
        if fit is None:
            fit = self._fit[name] = screener.name_is_fit(name)
            if len(self._fit) > self._most:
                self._fit.popitem(last=False)
        else:
            self._fit.move_to_end(name)
        return fit
