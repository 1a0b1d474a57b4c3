"""What one linting is about: the files, the application among them, and the server behind it."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from torchgate.contract.findings import Finding, Severity
from torchgate.iis.facts import ServerFacts
from torchgate.iis.located import section
from torchgate.iis.xml_document import Element


class Site(msgspec.Struct, frozen=True):
    """One application of a server: `Default Web Site` and `/` or `/models`."""

    name: str
    application: str = "/"


class Question(msgspec.Struct, frozen=True):
    """A web.config, maybe the applicationHost.config above it, and what they must agree with.

    Args:
        web, web_file: of the application.
        host, host_file: of the server, or None and "".
        facts: of the Torchgate server.
        site: which application; None: the only one.
    """

    web: Element
    web_file: str
    host: Element | None
    host_file: str
    facts: ServerFacts
    site: Site | None

    def here(self, element: Element | None, severity: Severity, sentence: str, remedy: str = "") -> Finding:
        """A finding in web.config; without an element it is about the file as a whole."""
        line = 0 if element is None else element.line
        return Finding(severity, sentence, file=self.web_file, line=line, remedy=remedy)

    def above(self, element: Element | None, severity: Severity, sentence: str, remedy: str = "") -> Finding:
        """A finding in applicationHost.config."""
        line = 0 if element is None else element.line
        return Finding(severity, sentence, file=self.host_file, line=line, remedy=remedy)

    def effective(self, path: str, location: str = "") -> Element | None:
        """The section that holds for a path below the application: web.config's, else the server's."""
        found = section(self.web, path, location)
        if found is not None or self.host is None:
            return found
        return section(self.host, path, self.host_location(location))

    def host_location(self, location: str = "") -> str:
        """How applicationHost.config calls a path below the application."""
        if self.site is None:
            return location
        parts = (self.site.name, self.site.application.strip("/"), location.strip("/"))
        return "/".join(part for part in parts if part)

    def applications(self) -> Iterator[tuple[Element, Element]]:
        """(site, application) of the server that are meant."""
        if self.host is None:
            return
        sites = section(self.host, "system.applicationHost/sites")
        for site in sites.named("site") if sites is not None else ():
            for application in site.named("application"):
                if self.site is None or (
                    site.get("name").lower() == self.site.name.lower()
                    and application.get("path").lower() == self.site.application.lower()
                ):
                    yield site, application
