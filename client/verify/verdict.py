"""What the judge says: one entry for each check, and whether all is well."""

from typing import Any, Literal

import msgspec

Status = Literal["pass", "fail", "vacuous"]

VIOLATIONS_MAX = 20  # told of one check; more of the same helps nobody


class Finding(msgspec.Struct):
    """What a check returns: how many things it looked at, a sentence for people, and what is wrong."""

    checked: int
    detail: str
    violations: list[str] = []


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """A judged property. `vacuous`: there was nothing to check, so nothing is shown, and that is no pass."""

    name: str
    section: str
    claim: str
    status: Status
    checked: int
    detail: str
    violations: tuple[str, ...] = ()


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Of a whole run; `inputs` says what it rests on."""

    ok: bool
    checks: tuple[Check, ...]
    inputs: dict[str, Any]


def to_check(name: str, section: str, claim: str, finding: Finding) -> Check:
    """A violation fails; nothing looked at is vacuous."""
    told = finding.violations[:VIOLATIONS_MAX]
    if len(finding.violations) > VIOLATIONS_MAX:
        told.append(f"and {len(finding.violations) - VIOLATIONS_MAX} more")
    return Check(
        name=name,
        section=section,
        claim=claim,
        status="fail" if finding.violations else "pass" if finding.checked else "vacuous",
        checked=finding.checked,
        detail=finding.detail,
        violations=tuple(told),
    )
