"""Where the embedded proxy differs from Toxiproxy 2.12 on purpose: each test that the real one cannot pass, and why.

The table in docs/reference/proxy.md says the same to users.
"""

from dataclasses import dataclass

import pytest


@dataclass(frozen=True, slots=True)
class Difference:
    """`test` is the name of the function; `only` restricts it to parameters that contain this text."""

    test: str
    reason: str
    only: str = ""


_HANGS = "the real one's API hangs for good when a client dies while a toxic is removed"
_BLOCKS = "the real one dials without a limit inside its accept loop, and disabling waits for that loop"
_RESETS = "the real one sends RST on connections only that were opened after the toxic was added"
_ATOMIC = "the real one leaves the first half of a change that it refused"
_GIT = "a build without a version tag calls itself git"
_DIES = "the real server dies of these settings"

DIFFERENCES = (
    Difference("test_toxics_can_change_while_clients_die", _HANGS),
    Difference("test_a_hung_dial_blocks_nobody", _BLOCKS),
    Difference("test_both_peers_are_reset", _RESETS, only="True"),
    Difference(
        "test_a_close_is_reset_only_while_the_toxic_is_there",
        "the real one turns every close into RST once the toxic has been there",
    ),
    Difference("test_the_api_does_not_wait_for_it", "removing reset_peer waits for its timeout in the real one"),
    Difference(
        "test_the_dice_are_rolled_once_for_each_connection",
        "the real one rolls again when the next toxic comes or goes",
    ),
    Difference("test_a_failed_update_changes_nothing", _ATOMIC),
    Difference(
        "test_a_reset_says_what_cannot_be_enabled_and_resets_the_rest", "the real one stops at the first that fails"
    ),
    Difference(
        "test_the_first_thing_that_is_wrong_is_named",
        "the real one takes a negative rate, and dies of it",
        only="negative",
    ),
    Difference("test_a_rate_cannot_become_negative", "the real one takes a negative rate, and dies of it"),
    Difference("test_nothing_is_lost", _DIES, only="attributes0"),
    Difference("test_nothing_is_lost", _DIES, only="attributes2"),
    Difference(
        "test_a_delay_of_centuries_holds_data_until_it_is_removed",
        "the delay overflows in the real one and becomes none",
    ),
    Difference(
        "test_a_slow_reader_slows_a_large_transfer_down", "its latency buffers 32 MiB on each link", only="latency"
    ),
    Difference("test_the_port_of_a_disabled_proxy_is_not_given_away", "the real one gives up the port when disabled"),
    Difference("test_the_version_is_read", _GIT),
    Difference("test_two_servers_can_be_driven_at_once", _GIT),
    Difference("test_the_http_proxy_is_ignored", _GIT),
)


def reason_of(item: pytest.Function) -> str | None:
    """Why the real server is not held to this test, if it is not."""
    for difference in DIFFERENCES:
        if item.originalname == difference.test and difference.only in item.callspec.id:
            return difference.reason
    return None
