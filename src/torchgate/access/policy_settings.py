"""What can be set about who may do what: grants, denials, and the user's own function (`[policy]`)."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from torchgate.access.names import RoleName
from torchgate.access.policy.rules import SERVER_ACTIONS, Conditions, FactLimits, model_pattern_mistake
from torchgate.access.policy.time_window import make_window
from torchgate.contract.decision import Action
from torchgate.contract.settings_file import Settings, nearest


def _model_pattern(pattern: str) -> str:
    if mistake := model_pattern_mistake(pattern):
        raise ValueError(mistake)
    return pattern


def _action(name: str) -> str:
    known = [*(str(action) for action in Action), "*"]
    if name not in known:
        raise ValueError(f"{name!r} is not an action. {nearest(name, known)}")
    return name


def _version(text: str) -> str:
    if not text.isascii() or not text.isdecimal() or text.startswith("0"):
        raise ValueError(
            f"{text!r} is not a version; write whole numbers in quotes, as the folders of versions are called. A word "
            "such as latest would give a right to what nobody has seen yet"
        )
    return text


ModelPattern = Annotated[str, AfterValidator(_model_pattern)]
ActionName = Annotated[str, AfterValidator(_action)]
VersionName = Annotated[str, AfterValidator(_version)]
SomeTexts = Annotated[tuple[Annotated[str, StringConstraints(max_length=64)], ...], Field(min_length=1)]
Limit = Annotated[int, Field(ge=1, le=1 << 53)]


class RuleSettings(Settings):
    """One grant or denial (`[[policy.grants]]`, `[[policy.denials]]`)."""

    roles: Annotated[tuple[RoleName, ...], Field(min_length=1)]
    """Whom it is about: principals that have one of these roles."""
    models: Annotated[tuple[ModelPattern, ...], Field(min_length=1)] | None = None
    """Model names, byte for byte; `*` for all, `name*` for those that begin so. Left out only for server actions."""
    actions: Annotated[tuple[ActionName, ...], Field(min_length=1)]
    """What it is about: `infer`, `read`, `load`, `unload`, `metrics`, `admin`, or `*` for all."""

    versions: Annotated[tuple[VersionName, ...], Field(min_length=1)] | None = None
    """Versions of these models, e.g. `["1", "3"]`; left out for all. A load of a bare name is about all of them."""
    days: SomeTexts | None = None
    """Days on which it counts: `mon` to `sun`; left out for all."""
    hours: SomeTexts | None = None
    """Hours in which it counts: `08:00-18:00`, or `22:00-06:00`, which belongs to the day on which it begins."""
    time_zone: str | None = None
    """Whose clock on the wall days, hours and dates go by, e.g. `Europe/Berlin` or `UTC`."""
    valid_from: str | None = None
    """When it begins to count: a date, or a date and time."""
    valid_until: str | None = None
    """When it ceases to count: the end of a date, or a date and time."""
    max_rows: Limit | None = None
    """Of a grant of `infer`: it is about requests with at most so many rows, which the body tells."""
    max_bytes: Limit | None = None
    """Of a grant of `infer`: it is about requests with at most so many bytes of body, as sent."""
    above_rows: Limit | None = None
    """Of a denial of `infer`: it is about requests with more rows than this."""
    above_bytes: Limit | None = None
    """Of a denial of `infer`: it is about requests with more bytes of body than this, as sent."""

    @property
    def is_about_large(self) -> bool:
        """Whether it speaks of large requests, as only a denial may."""
        return self.above_rows is not None or self.above_bytes is not None

    @property
    def is_about_small(self) -> bool:
        """Whether it speaks of small requests, as only a grant may."""
        return self.max_rows is not None or self.max_bytes is not None

    def conditions(self) -> Conditions:
        """What narrows it beyond roles, models and actions.

        Raises:
            ValueError: there is no such window in time.
        """
        limits = None
        if self.is_about_small:
            limits = FactLimits(self.max_rows, self.max_bytes, is_above=False)
        elif self.is_about_large:
            limits = FactLimits(self.above_rows, self.above_bytes, is_above=True)
        window = make_window(self.days, self.hours, self.time_zone, self.valid_from, self.valid_until)
        return Conditions(frozenset(self.versions or ()), window, limits)

    @model_validator(mode="after")
    def _consistent(self) -> RuleSettings:
        server_only = set(self.actions) & (SERVER_ACTIONS - {Action.ADMIN})
        if self.models is None and not set(self.actions) <= SERVER_ACTIONS:
            raise ValueError('models is missing; name the models that the rule is about, or say models = ["*"]')
        if self.models is not None and "*" not in self.models and server_only:
            raise ValueError(
                f"{', '.join(sorted(server_only))} is asked of the server, not of a model; "
                'put it into a rule of its own without models, or say models = ["*"]'
            )
        if self.versions is not None and self.models is None:
            raise ValueError("versions are there without models; name the models whose versions they are")
        if (self.is_about_small or self.is_about_large) and self.actions != ("infer",):
            raise ValueError('limits on rows and bytes are about requests of a model; write actions = ["infer"]')
        self.conditions()
        return self


class PolicySettings(Settings):
    """Who may do what (`[policy]`); what no grant allows is denied, and a denial wins."""

    grants: tuple[RuleSettings, ...] = ()
    """What is allowed."""
    denials: tuple[RuleSettings, ...] = ()
    """What is denied, whatever the grants and the hook say."""
    hook: Annotated[str, StringConstraints(pattern=r"^.+:[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    """Your own function, `module:function` or `file.py:function`; its answer is the decision after the denials."""
    hook_timeout_s: Annotated[float, Field(gt=0, le=30)] = 0.5
    """Seconds that the function has for one answer; a late answer is a denial."""
    hook_threads: Annotated[int, Field(ge=1, le=64)] = 4
    """Calls of the function that may run at once."""
    reload_interval_s: Annotated[float, Field(ge=0, le=3600)] = 5.0
    """Seconds between looks at the settings file and the file of the hook; 0: changes count only when asked for."""

    @model_validator(mode="after")
    def _sized(self) -> PolicySettings:
        if any(rule.is_about_large for rule in self.grants):
            raise ValueError("a grant has above_rows or above_bytes; it is about small requests: max_rows, max_bytes")
        if any(rule.is_about_small for rule in self.denials):
            raise ValueError("a denial has max_rows or max_bytes; it is about large requests: above_rows, above_bytes")
        return self
