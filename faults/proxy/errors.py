"""What the API answers when it refuses: the texts are those of Toxiproxy 2.12, because clients match on them."""


class ApiError(Exception):
    """A refusal with its HTTP status; the message is sent to the client as it is."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


class ListenError(Exception):
    """A listen address that cannot be parsed, resolved or bound. The message has Go's wording."""


def bad_request(detail: str) -> ApiError:
    """400: the body is not what the route needs; `detail` has the wording of Go's JSON decoder."""
    return ApiError(f"bad request body: {detail}", 400)


def missing_field(field: str) -> ApiError:
    return ApiError(f"missing required field: {field}", 400)


def invalid_stream() -> ApiError:
    return ApiError("stream was invalid, can be either upstream or downstream", 400)


def invalid_toxic_type() -> ApiError:
    return ApiError("invalid toxic type", 400)


def proxy_not_found() -> ApiError:
    return ApiError("proxy not found", 404)


def toxic_not_found() -> ApiError:
    return ApiError("toxic not found", 404)


def proxy_exists() -> ApiError:
    return ApiError("proxy already exists", 409)


def toxic_exists() -> ApiError:
    return ApiError("toxic already exists", 409)


def listen_failed(error: ListenError) -> ApiError:
    return ApiError(str(error), 500)
