"""Events as Windows writes them, and what they mean; the XML has the shapes that Windows and IIS were seen to write."""

from __future__ import annotations

import pytest

from torchgate.iis.event_findings import PROVIDERS, event_findings
from torchgate.iis.event_xml import read_event

NOW = 1_760_000_000.0  # 2025-10-09 08:53:20 UTC
TODAY, LONG_AGO = "2025-10-09T07:00:00.1234567Z", "2025-10-04T07:00:00.000000000Z"

MODULE = """<Event xmlns="http://schemas.microsoft.com/win/2004/08/events/event">
  <System>
    <Provider Name="IIS AspNetCore Module V2" />
    <EventID Qualifiers="0">{number}</EventID>
    <Level>2</Level>
    <Task>0</Task>
    <Keywords>0x80000000000000</Keywords>
    <TimeCreated SystemTime="{when}" />
    <EventRecordID>14876528</EventRecordID>
    <Channel>Application</Channel>
    <Computer>SERVER</Computer>
    <Security />
  </System>
  <EventData>
    <Data>Application '/LM/W3SVC/1/ROOT/models' with physical root 'D:\\torchgate\\iis\\' failed to start process with
commandline '"C:\\Python\\python.exe" -m torchgate serve', ErrorCode = '0x80070002'.
</Data>
    <Data>Process Id: 7512.</Data>
    <Data>File Version: 19.0.24303.0. Description: IIS ASP.NET Core Module V2 Request Handler.</Data>
  </EventData>
</Event>"""

POOL = """<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System>
<Provider Name='Microsoft-Windows-WAS' Guid='{{524B5D04-133C-4A62-8362-64E8EDB9CE40}}' EventSourceName='WAS'/>
<EventID Qualifiers='32768'>{number}</EventID><Version>0</Version><Level>3</Level><Task>0</Task><Opcode>0</Opcode>
<Keywords>0x80000000000000</Keywords><TimeCreated SystemTime='{when}'/><EventRecordID>272960</EventRecordID>
<Correlation/><Execution ProcessID='0' ThreadID='0'/><Channel>System</Channel><Computer>SERVER</Computer><Security/>
</System><EventData><Data Name='AppPoolID'>mödels</Data><Data Name='ProcessID'>28828</Data><Binary>6D000780</Binary>
</EventData></Event>"""

NAMED_CRASH = """<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System>
<Provider Name='Application Error' Guid='{{a0e9b465-b939-57d7-b27d-95d8e925ff57}}'/><EventID>1000</EventID>
<Version>0</Version><Level>2</Level><TimeCreated SystemTime='{when}'/><Channel>Application</Channel></System><EventData>
<Data Name='AppName'>{program}</Data><Data Name='AppVersion'>3.11.3150.1013</Data><Data Name='AppTimeStamp'>642cc427
</Data><Data Name='ModuleName'>torch_cpu.dll</Data><Data Name='ModuleVersion'>0.0.0.0</Data>
<Data Name='ModuleTimeStamp'>67943a5c</Data><Data Name='ExceptionCode'>c0000005</Data>
<Data Name='FaultingOffset'>0000000006046edb</Data><Data Name='ProcessId'>0xe48</Data></EventData></Event>"""

PLAIN_CRASH = """<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System>
<Provider Name='Application Error'/><EventID Qualifiers='0'>1000</EventID><TimeCreated SystemTime='{when}'/></System>
<EventData><Data>{program}</Data><Data>3.11.3150.1013</Data><Data>642cc427</Data><Data>torch_cpu.dll</Data>
<Data>0.0.0.0</Data><Data>67943a5c</Data><Data>c0000005</Data><Data>0000000006046edb</Data></EventData></Event>"""

BARE = """<Event><System><Provider Name='{provider}'/><EventID>{number}</EventID>
<TimeCreated SystemTime='{when}'/></System><EventData><Data/></EventData></Event>"""


def found(*texts: str):
    return list(event_findings(texts, wall_clock=lambda: NOW))


def test_an_event_is_read_as_it_stands():
    event = read_event(POOL.format(number=5011, when=TODAY))
    assert (event.provider, event.number) == ("Microsoft-Windows-WAS", 5011)
    assert event.written_at == pytest.approx(NOW - 6800)
    assert event.values == ("mödels", "28828")
    assert event.value("ProcessID", 0) == "28828"
    assert read_event(PLAIN_CRASH.format(program="python.exe", when=TODAY)).value("ModuleName", 3) == "torch_cpu.dll"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no XML",
        "<Event/>",
        "<Event><System><Provider Name='X'/><EventID>one</EventID></System></Event>",
        "<Event><System><Provider Name='X'/><EventID>1</EventID><TimeCreated SystemTime='now'/></System></Event>",
        "<!DOCTYPE Event [<!ENTITY a 'b'>]><Event/>",
        f"<Event>{' ' * (1 << 20)}</Event>",
    ],
    ids=["empty", "text", "bare", "no number", "no time", "entities", "huge"],
)
def test_what_is_no_event_is_refused(text: str):
    with pytest.raises(ValueError, match=r"."):
        read_event(text)
    assert [one.verdict for one in found(text)] == ["amber"], "and told"


def test_the_last_day_is_red_and_what_is_older_may_have_been_put_right():
    fresh = found(MODULE.format(number=1000, when=TODAY))[0]
    assert (fresh.verdict, fresh.place) == ("red", "event log, IIS AspNetCore Module V2 1000")
    assert "could not start the server: once in 7 days, last at 2025-10-09 07:00 UTC" in fresh.seen
    assert "ErrorCode = '0x80070002'" in fresh.seen
    assert found(MODULE.format(number=1000, when=LONG_AGO))[0].verdict == "amber"


def test_the_same_again_is_counted():
    texts = [MODULE.format(number=1003, when=when) for when in (TODAY, LONG_AGO, LONG_AGO)]
    (one,) = found(*texts)
    assert one.verdict == "red"
    assert "3 times in 7 days, last at 2025-10-09" in one.seen


def test_what_is_no_trouble_is_not_told():
    started = [MODULE.format(number=number, when=TODAY) for number in (1001, 1006, 1021)]
    assert found(*started, POOL.format(number=5211, when=TODAY)) == []


@pytest.mark.parametrize(
    ("number", "verdict"), [(5002, "red"), (5011, "red"), (5021, "red"), (5074, "amber"), (5186, "amber")]
)
def test_a_pool_that_fails_is_named(number: int, verdict: str):
    (one,) = found(POOL.format(number=number, when=TODAY))
    assert (one.verdict, "(pool mödels)" in one.seen) == (verdict, True)
    assert one.remedy


@pytest.mark.parametrize("text", [NAMED_CRASH, PLAIN_CRASH], ids=["named", "by place"])
def test_a_crash_of_python_says_which_module_it_was(text: str):
    (one,) = found(text.format(program="python.exe", when=TODAY))
    assert "python.exe in torch_cpu.dll, exception c0000005" in one.seen
    assert found(text.format(program="notepad.exe", when=TODAY)) == [], "of others nothing is told"


@pytest.mark.parametrize(
    ("provider", "number", "words"),
    [
        ("Display", 4101, "graphics driver was reset"),
        ("nvlddmkm", 153, "graphics driver was reset"),
        ("Microsoft-Windows-Resource-Exhaustion-Detector", 2004, "WinError 1455"),
    ],
)
def test_what_the_machine_suffers_from_is_told(provider: str, number: int, words: str):
    (one,) = found(BARE.format(provider=provider, number=number, when=TODAY))
    assert words in one.seen
    assert provider in PROVIDERS


def test_a_long_text_is_cut():
    text = MODULE.replace("Application '", "Application '" + "x" * 5000).format(number=1000, when=TODAY)
    assert len(found(text)[0].seen) < 500
