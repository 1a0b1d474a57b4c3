import pytest


def test_a_new_section_is_zeroed_and_as_long_as_asked(make_section):
    section = make_section(10_000)
    assert bytes(section.view) == bytes(10_000)
    section.view[9_999] = 7
    assert section.view[9_999] == 7
    section.close()
    section.close()


@pytest.mark.linux("seals are of memfd")
def test_a_child_cannot_shorten_a_section(make_section):
    """A worker that truncates its memfd would kill the server with SIGBUS."""
    import os

    section = make_section(4096)
    with pytest.raises(PermissionError):
        os.ftruncate(section.descriptor, 0)
    section.close()


@pytest.mark.windows("mappings are unmapped by address on Windows alone")
def test_memory_stays_while_a_view_of_it_is_left(make_section):
    section = make_section(4096)
    rest = section.view[100:200]
    rest[0] = 5
    section.close()
    assert rest[0] == 5
