"""A wfastcgi application is read as wfastcgi reads it, and its values stay where they are."""

from __future__ import annotations

import pytest

from torchgate.iis.conversion import read_wfastcgi
from torchgate.iis.xml_document import parse_xml

OLD = r"""<configuration>
  <system.webServer><handlers>
    <add name="Python FastCGI" path="*" verb="*" modules="FastCgiModule"
         resourceType="Unspecified"
         scriptProcessor="&quot;C:\Program Files\Python\python.exe&quot;|C:\site\wfastcgi.py" />
  </handlers></system.webServer>
  <appSettings>
    <add key="WSGI_HANDLER" value="site.app" />
    <add key="PythonPath" value="C:\site;;D:\more" />
    <add key="DB_PASSWORD" value="hunter2" />
    <add key="WSGI_LOG" value="C:\log.txt" />
    <add key="WSGI_RESTART_FILE_REGEX" value=".*" />
  </appSettings>
</configuration>"""


def test_what_wfastcgi_ran_is_found_and_no_value_is_taken_over():
    found = read_wfastcgi(parse_xml(OLD))
    assert found.python == r"C:\Program Files\Python\python.exe"
    assert found.handler == "site.app"
    assert found.python_path == (r"C:\site", r"D:\more")
    assert found.environment == ("DB_PASSWORD",)
    assert "hunter2" not in str(found)
    assert any("an application of your own" in note and "guard_wsgi" in note for note in found.notes)
    assert any("WSGI_LOG counts behind wfastcgi alone" in note for note in found.notes)


def test_our_own_handler_is_nobody_else_s_application():
    found = read_wfastcgi(parse_xml(OLD.replace("site.app", "torchgate.wsgi.application")))
    assert not any("of your own" in note for note in found.notes)


def test_a_file_without_wfastcgi_is_refused():
    with pytest.raises(ValueError, match="there is nothing to convert"):
        read_wfastcgi(parse_xml("<configuration/>"))
