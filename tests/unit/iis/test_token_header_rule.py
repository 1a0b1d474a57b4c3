"""Which web.config keeps a client's own token header away, and which only looks so."""

from __future__ import annotations

import pytest

from torchgate.iis.token_header_rule import blocks_client_tokens

HEADER = "X-IIS-WindowsAuthToken"
RULE = """<rule name="no client tokens"><match url=".*" />
<serverVariables><set name="HTTP_X_IIS_WINDOWSAUTHTOKEN" value="" /></serverVariables><action type="None" /></rule>"""
DENIED = "".join(f'<add string="{digit}" />' for digit in "0123456789abcdef")
FILTER = f"""<security><requestFiltering><filteringRules><filteringRule name="x" scanUrl="false">
<scanHeaders><add requestHeader="{HEADER}" /></scanHeaders><denyStrings>{DENIED}</denyStrings>
</filteringRule></filteringRules></requestFiltering></security>"""


def site(inner: str, around: str = "{}") -> str:
    """A web.config with these sections."""
    server = f"<system.webServer>{inner}</system.webServer>"
    return f'<?xml version="1.0"?><configuration>{around.format(server)}</configuration>'


def rules(*texts: str) -> str:
    """Rewrite rules."""
    return f"<rewrite><rules>{''.join(texts)}</rules></rewrite>"


@pytest.mark.parametrize(
    "text",
    [
        site(rules(RULE)),
        "\ufeff" + site(rules(RULE)).replace('<?xml version="1.0"?>', ""),
        site(FILTER),
        site(rules(RULE), '<location path="." inheritInChildApplications="false">{}</location>'),
        site(rules(RULE, '<rule name="b" stopProcessing="true"><match url="x" /><action type="Redirect" /></rule>')),
        site(rules('<rule name="a"><match url="^a" /><action type="Rewrite" url="b" /></rule>', RULE)),
    ],
)
def test_a_rule_for_every_request_blocks(text: str) -> None:
    assert blocks_client_tokens(text, HEADER)


@pytest.mark.identity_case(
    "httpplatform", "a web.config whose rule leaves a gap for the client's own token", "no start"
)
@pytest.mark.parametrize(
    "text",
    [
        "",
        "not xml",
        "<configuration/>",
        site(""),
        site(rules(RULE)).replace("<configuration>", "<!DOCTYPE configuration><configuration>"),
        site(rules(RULE.replace('url=".*"', 'url="^v2"'))),
        site(rules(RULE.replace('url=".*"', 'url=".*" negate="true"'))),
        site(rules(RULE.replace("<rule ", '<rule enabled="false" '))),
        site(rules(RULE.replace("<rule ", '<rule patternSyntax="Wildcard" '))),
        site(rules(RULE.replace('value=""', 'value="" replace="false"'))),
        site(rules(RULE.replace('value=""', 'value="{HTTP_X}"'))),
        site(rules(RULE.replace("WINDOWSAUTHTOKEN", "OTHER"))),
        site(rules(RULE.replace("<action", '<conditions><add input="{HTTPS}" pattern="on" /></conditions><action'))),
        site(rules('<rule name="a" stopProcessing="true"><match url="x" /><action type="None" /></rule>', RULE)),
        site(rules('<rule name="a"><match url="x" /><action type="AbortRequest" /></rule>', RULE)),
        site(rules(RULE), '<location path="v2">{}</location>'),
        site(rules(RULE), '{}<location path="v2"><system.webServer><rewrite><rules><clear /></rules></rewrite>'
             "</system.webServer></location>"),
        site(f"<!-- {rules(RULE)} -->"),
        site(FILTER.replace('<add string="4" />', "")),
        site(FILTER.replace(HEADER, "X-Other")),
        site(FILTER.replace("<denyStrings>", '<appliesTo><add fileExtension=".py" /></appliesTo><denyStrings>')),
    ],
)  # fmt: skip
def test_a_rule_with_a_gap_does_not(text: str) -> None:
    """The attacker needs one path on which its own header comes through."""
    assert not blocks_client_tokens(text, HEADER)
