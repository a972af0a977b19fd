"""The REST API of toxics as clients of Toxiproxy 2.12 know it: defaults, order, strictness, texts."""

import pytest
from proxy_support import Http, error


class TestToxics:
    def test_a_new_toxic_has_defaults(self, api: Http, name: str) -> None:
        answer = api("POST", f"/proxies/{name}/toxics", {"type": "latency"})
        expected = (
            '{"attributes":{"latency":0,"jitter":0},"name":"latency_downstream","type":"latency",'
            '"stream":"downstream","toxicity":1}'
        )
        assert (answer.status, answer.text) == (200, expected)
        assert api("GET", f"/proxies/{name}/toxics/latency_downstream").text == expected
        assert api("GET", f"/proxies/{name}/toxics").text == f"[{expected}]"

    @pytest.mark.parametrize(
        ("kind", "attributes"),
        [
            ("latency", {"latency": 0, "jitter": 0}),
            ("timeout", {"timeout": 0}),
            ("reset_peer", {"timeout": 0}),
            ("bandwidth", {"rate": 0}),
            ("noop", {}),
        ],
    )
    def test_each_kind_has_its_attributes(self, api: Http, name: str, kind: str, attributes: dict[str, int]) -> None:
        assert api("POST", f"/proxies/{name}/toxics", {"type": kind}).json["attributes"] == attributes
        given = {key: number for number, key in enumerate(attributes, start=5)}
        answer = api("PATCH", f"/proxies/{name}/toxics/{kind}_downstream", {"attributes": {**given, "other": 1.5}})
        assert answer.json["attributes"] == given

    def test_upstream_toxics_are_listed_first(self, api: Http, name: str) -> None:
        for toxic, stream in (("d1", "downstream"), ("u1", "upstream"), ("d2", "downstream"), ("u2", "upstream")):
            api("POST", f"/proxies/{name}/toxics", {"name": toxic, "type": "noop", "stream": stream})
        assert [each["name"] for each in api("GET", f"/proxies/{name}/toxics").json] == ["u1", "u2", "d1", "d2"]
        assert [each["name"] for each in api("GET", f"/proxies/{name}").json["toxics"]] == ["u1", "u2", "d1", "d2"]

    def test_the_stream_is_returned_as_given(self, api: Http, name: str) -> None:
        answer = api("POST", f"/proxies/{name}/toxics", {"type": "latency", "stream": "UPSTREAM"})
        assert (answer.json["stream"], answer.json["name"]) == ("UPSTREAM", "latency_UPSTREAM")

    @pytest.mark.parametrize(
        ("body", "status", "text"),
        [
            ("", 400, "bad request body: EOF"),
            (
                {"stream": "sideways", "type": "nonsense"},
                400,
                "stream was invalid, can be either upstream or downstream",
            ),
            ({"stream": "", "type": "noop"}, 400, "stream was invalid, can be either upstream or downstream"),
            ({}, 400, "invalid toxic type"),
            ({"type": "nonsense", "name": "here"}, 400, "invalid toxic type"),
            ({"type": "latency", "name": "here", "attributes": {"latency": 1.5}}, 409, "toxic already exists"),
            ({"type": "noop", "name": "here", "stream": "upstream"}, 409, "toxic already exists"),
            (
                {"type": "bandwidth", "attributes": {"rate": -1}},
                400,
                "bad request body: bandwidth rate must not be negative: -1",
            ),
        ],
    )
    def test_the_first_thing_that_is_wrong_is_named(
        self, api: Http, name: str, body: object, status: int, text: str
    ) -> None:
        api("POST", f"/proxies/{name}/toxics", {"type": "noop", "name": "here"})
        answer = api("POST", f"/proxies/{name}/toxics", body)
        assert (answer.status, answer.text) == (status, error(text, status))

    @pytest.mark.parametrize(
        ("value", "found"),
        [
            ("100.0", "number 100.0"),
            ("1e2", "number 1e2"),
            ("1.5", "number 1.5"),
            ("9223372036854775808", "number 9223372036854775808"),
            ('"100"', "string"),
            ("true", "bool"),
            ("{}", "object"),
            ("[]", "array"),
        ],
    )
    def test_only_integers_are_accepted(self, api: Http, name: str, value: str, found: str) -> None:
        text = (
            f"bad request body: json: cannot unmarshal {found} into Go struct field LatencyToxic.attributes.latency "
            "of type int64"
        )
        body = f'{{"type":"latency","attributes":{{"latency":{value}}}}}'
        answer = api("POST", f"/proxies/{name}/toxics", body)
        assert (answer.status, answer.text) == (400, error(text, 400))
        assert api("GET", f"/proxies/{name}/toxics").text == "[]"

    def test_attributes_are_read_leniently(self, api: Http, name: str) -> None:
        body = {"type": "latency", "attributes": {"LATENCY": 5, "jitter": None, "unknown": "x"}}
        assert api("POST", f"/proxies/{name}/toxics", body).json["attributes"] == {"latency": 5, "jitter": 0}

    @pytest.mark.parametrize(
        ("given", "shown"),
        [("0.2", "0.2"), ("0.333333333", "0.33333334"), ("5", "5"), ("-1", "-1"), ("0", "0"), ("1.0", "1")],
    )
    def test_the_toxicity_is_a_float32(self, api: Http, name: str, given: str, shown: str) -> None:
        answer = api("POST", f"/proxies/{name}/toxics", f'{{"type":"noop","toxicity":{given}}}')
        assert answer.text.endswith(f'"toxicity":{shown}}}')

    @pytest.mark.parametrize("value", ["1e39", "-1e39", "1e999"])
    def test_a_toxicity_out_of_range_is_refused(self, api: Http, name: str, value: str) -> None:
        text = (
            f"bad request body: json: cannot unmarshal number {value} into Go struct field ToxicWrapper.toxicity "
            "of type float32"
        )
        answer = api("POST", f"/proxies/{name}/toxics", f'{{"type":"noop","toxicity":{value}}}')
        assert (answer.status, answer.text) == (400, error(text, 400))

    @pytest.mark.parametrize("method", ["POST", "PATCH"])
    def test_an_update_is_merged(self, api: Http, name: str, method: str) -> None:
        api(
            "POST",
            f"/proxies/{name}/toxics",
            {"type": "latency", "attributes": {"latency": 1, "jitter": 2}, "toxicity": 0.5},
        )
        path = f"/proxies/{name}/toxics/latency_downstream"
        body = {"attributes": {"latency": 9}, "name": "other", "type": "noop", "stream": "upstream"}
        changed = api(method, path, body).json
        assert changed["attributes"] == {"latency": 9, "jitter": 2}
        assert (changed["name"], changed["type"], changed["stream"]) == ("latency_downstream", "latency", "downstream")
        assert changed["toxicity"] == 0.5
        assert api(method, path, {"toxicity": -1}).json["toxicity"] == -1

    def test_a_failed_update_changes_nothing(self, api: Http, name: str) -> None:
        api("POST", f"/proxies/{name}/toxics", {"type": "latency"})
        path = f"/proxies/{name}/toxics/latency_downstream"
        answer = api("PATCH", path, {"toxicity": 0.1, "attributes": {"latency": 9, "jitter": 1.5}})
        assert answer.status == 400
        assert "LatencyToxic.attributes.jitter" in answer.text
        after = api("GET", path).json
        assert (after["attributes"], after["toxicity"]) == ({"latency": 0, "jitter": 0}, 1)

    def test_a_rate_cannot_become_negative(self, api: Http, name: str) -> None:
        api("POST", f"/proxies/{name}/toxics", {"type": "bandwidth"})
        assert api("PATCH", f"/proxies/{name}/toxics/bandwidth_downstream", {"attributes": {"rate": -1}}).status == 400

    def test_an_unknown_toxic_is_not_found(self, api: Http, name: str) -> None:
        for method in ("GET", "POST", "PATCH", "DELETE"):
            assert api(method, f"/proxies/{name}/toxics/no", "garbage").text == error("toxic not found", 404)
            assert api(method, "/proxies/no/toxics/no", "garbage").text == error("proxy not found", 404)
        for method in ("GET", "POST"):
            assert api(method, "/proxies/no/toxics", "garbage").text == error("proxy not found", 404)

    def test_a_deleted_toxic_is_gone(self, api: Http, name: str) -> None:
        api("POST", f"/proxies/{name}/toxics", {"type": "noop"})
        answer = api("DELETE", f"/proxies/{name}/toxics/noop_downstream")
        assert (answer.status, answer.body) == (204, b"")
        assert api("GET", f"/proxies/{name}/toxics").text == "[]"

    def test_toxics_survive_disabling(self, api: Http, name: str) -> None:
        api("PATCH", f"/proxies/{name}", {"enabled": False})
        assert api("POST", f"/proxies/{name}/toxics", {"type": "noop"}).status == 200
        assert len(api("PATCH", f"/proxies/{name}", {"enabled": True}).json["toxics"]) == 1
