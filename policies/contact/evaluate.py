"""The detector as a callable for scorers: ``detect(text, context)``."""

from collections.abc import Sequence
from functools import cache

from policies.contact.detector import Detector


@cache
def _detector() -> Detector:
    return Detector()


def detect(text: str, context: Sequence[str] = ()) -> list[tuple[int, int, str, float]]:
    """Findings as (start, end, category, confidence), with the default rules."""
    verdict = _detector().check(text, context)
    return [(finding.start, finding.end, finding.category.value, finding.confidence) for finding in verdict.findings]
