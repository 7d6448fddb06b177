import pytest

from policies.errors import ChatError, ErrorCode, RateLimited, Unavailable, error_class


@pytest.mark.parametrize("code", ErrorCode)
def test_every_code_has_a_class(code: ErrorCode) -> None:
    found = error_class(code.value)
    assert found is not None
    assert found.code is code


def test_a_code_of_a_newer_server_has_none() -> None:
    assert error_class("teapot") is None


def test_what_passes_is_temporary() -> None:
    temporary = {found for code in ErrorCode if (found := error_class(code.value)) and found.temporary}
    assert temporary == {RateLimited, Unavailable}


def test_an_error_tells_what_it_was_given() -> None:
    error = ChatError("No.", details={"rule": "x"}, retry_after_ms=5)
    assert (str(error), error.message, error.details, error.retry_after_ms) == ("No.", "No.", {"rule": "x"}, 5)
    assert ChatError("No.").details == {}
