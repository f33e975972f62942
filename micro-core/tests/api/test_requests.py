"""What paths, queries, bodies and origins mean, by themselves."""

import json

import pytest

from micro.api import body
from micro.api.cors import Cors
from micro.api.metadata import identify, onward, traced
from micro.api.query import to_json
from micro.api.resolve import Resolver, camel
from micro.errors import InvalidArgument, NotFound, ServiceError


class TestPaths:
    @pytest.mark.parametrize(
        ("path", "service", "endpoint"),
        [
            ("/foo", "foo", "Foo.Call"),
            ("/foo/bar", "foo", "Foo.Bar"),
            ("/v1/foo", "v1", "V1.Foo"),
            ("/v1/foo/bar", "v1.foo", "Foo.Bar"),
            ("/foo/bar/baz", "foo", "Bar.Baz"),
            ("/a/b/c/d", "a.b", "C.D"),
            ("/v1/a/b/c", "v1.a", "B.C"),
            ("/foo/baz-quxQuux", "foo", "Foo.BazQuxQuux"),
            ("/foo-bar", "foo-bar", "FooBar.Call"),
            ("//foo/./x/../bar/", "foo", "Foo.Bar"),
            ("/%66oo", "foo", "Foo.Call"),
            ("/v1x/foo/bar", "v1x", "Foo.Bar"),
        ],
    )
    def test_the_table(self, path, service, endpoint):
        found = Resolver().resolve(path)
        assert (found.service, found.endpoint) == (service, endpoint)
        assert found.path == f"/{service}.{endpoint.replace('.', '/')}".encode()

    @pytest.mark.parametrize("path", ["/..", "/%ff", "/a b", "/foo/a.b", "/foo/5x", "/é", "/f%00o", "/%2e%2e", "/-"])
    def test_what_can_be_nobodys_name_is_not_found(self, path):
        with pytest.raises(NotFound, match="service not found"):
            Resolver().resolve(path)

    def test_an_encoded_slash_is_a_slash_for_everybody(self):
        assert Resolver().resolve("/foo%2fbar").endpoint == "Foo.Bar"
        assert Resolver().resolve("/foo/%2e%2e/bar").service == "bar"

    def test_a_prefix_stands_before_services(self):
        assert Resolver("go").resolve("/v1/foo/bar").service == "go.v1.foo"

    def test_words_have_capitals_after_what_is_no_letter(self):
        assert camel("foo.bar-baz_qux") == "Foo.BarBaz_qux"


class TestQueries:
    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("a=5&b=true&c=null&d=%22q%22&e=x", {"a": 5, "b": True, "c": None, "d": "q", "e": "x"}),
            ("a[b]=1", {"a": {"b": 1}}),
            ("a.b=1&a[c]=2", {"a": {"b": 1, "c": 2}}),
            ("a[]=x&a[]=2", {"a": ["x", 2]}),
            ("a=007", {"a": "007"}),
            ("a=b=c", {"a=b": "c"}),
            ("a+b=c%20d", {"a b": "c d"}),
            ("a=1&a=2", {"a": 2}),
            ("a=", {"a": ""}),
            ('a={"x":[1]}', {"a": {"x": [1]}}),
            ("", {}),
        ],
    )
    def test_the_rules(self, query, expected):
        assert to_json(query) == expected

    @pytest.mark.parametrize("query", ["a", "=1", "a=1&a[b]=2", "a[b]=2&a=1", "a[]=1&a[b]=2", "a" + "[x]" * 40 + "=1"])
    def test_what_cannot_be_is_refused(self, query):
        with pytest.raises(InvalidArgument):
            to_json(query)


class TestBodies:
    async def message(self, method, content_type, query=b"", data=b""):
        return await body.message(method, body.form_of(content_type), content_type, query.decode() or "", data)

    async def test_without_anything_it_is_null(self):
        assert await self.message("GET", "") == b"null"
        assert await self.message("GET", "application/json") == b"{}"
        assert await self.message("POST", "") == b"null"
        assert await self.message("PROPFIND", "", b"a=1", b"{}") == b"null"

    async def test_a_body_is_passed_on_as_it_came(self):
        odd = b' {"b": 1,\n "a": 18446744073709551616} '
        assert await self.message("POST", "application/json; charset=utf-8", data=odd) == odd

    async def test_a_query_is_below_the_body(self):
        merged = await self.message("PATCH", "", b"a=1&b[c]=2&d=3", b'{"b":{"e":4},"d":null}')
        assert json.loads(merged) == {"a": 1, "b": {"c": 2, "e": 4}}

    async def test_forms_are_texts(self):
        form = await self.message("POST", "application/x-www-form-urlencoded", b"q=1", b"a=5&b=x+y&a=6")
        assert json.loads(form) == {"q": "1", "a": "5,6", "b": "x y"}

    @pytest.mark.parametrize(
        "data", [b'{"a": 4}', b' \n{"a": "b=c"}', b"null", b"[1, 2]", b'"text"', b"12", b"true", b'{"a=b": 1}']
    )
    async def test_what_curl_calls_a_form_and_is_json_passes_as_json(self, data):
        assert await self.message("POST", "application/x-www-form-urlencoded", b"", data) == data

    @pytest.mark.parametrize(
        ("data", "said"),
        [
            (b'{"count":4', r"malformed JSON: .*truncated"),
            (b'{"a": "b=c"', r"malformed JSON: .*truncated"),
            (b"[1, 2,]", r"malformed JSON: .* .byte 6"),
            (b'{"a":nul}', r"malformed JSON: invalid character"),
            (b"nul", r"invalid form: 'nul' has no '='"),
        ],
    )
    async def test_a_malformed_one_is_spoken_of_as_what_it_was_meant_to_be(self, data, said):
        for query in (b"", b"q=1"):
            with pytest.raises(InvalidArgument, match=said):
                await self.message("POST", "application/x-www-form-urlencoded", query, data)

    async def test_files_are_base64(self):
        data = (
            b'--B\r\nContent-Disposition: form-data; name="n"\r\n\r\nx\r\n--B\r\nContent-Disposition: form-data; '
            b'name="f"; filename="a.bin"\r\n\r\n\x00\xff\r\n--B--\r\n'
        )
        found = await self.message("POST", "multipart/form-data; boundary=B", b"q=1", data)
        assert json.loads(found) == {"n": "x", "f": "AP8="}
        with pytest.raises(InvalidArgument):
            await self.message("POST", "multipart/form-data; boundary=B", b"", b"--B\r\nnothing")
        with pytest.raises(InvalidArgument):
            await self.message("POST", "multipart/form-data", b"", data)

    @pytest.mark.parametrize("kind", ["application/json-rpc", "application/proto-rpc", "application/octet-stream"])
    def test_envelopes_are_refused(self, kind):
        with pytest.raises(ServiceError) as caught:
            body.form_of(kind)
        assert caught.value.http == 415


class TestOrigins:
    def test_without_a_list_everybody_reads_and_nobody_has_credentials(self):
        headers = Cors().headers("https://a.example")
        assert headers["Access-Control-Allow-Origin"] == "*"
        assert "Access-Control-Allow-Credentials" not in headers

    def test_a_cookie_counts_where_its_owner_means_it(self):
        cors = Cors(["https://shop.example/"])
        assert cors.cookies_count("https://shop.example", "x", None)
        assert cors.cookies_count("http://x:8080", "x:8080", "same-origin")
        assert not cors.cookies_count("null", "x", None)
        assert not cors.cookies_count("http://y", "x", None)
        assert not cors.cookies_count(None, "x", "cross-site")
        assert cors.cookies_count(None, "x", None)


class TestMetadata:
    def test_repeated_headers_are_joined(self):
        assert onward([(b"A", b"1"), (b"a", b"2"), (b"Host", b"x")], most=100) == {b"a": b"1,2"}

    def test_a_trace_goes_on_or_begins(self):
        found: dict[bytes, bytes] = {}
        traced(found)
        assert len(found[b"micro-trace-id"]) == 32
        found = {b"traceparent": b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"}
        traced(found)
        assert (found[b"micro-trace-id"], found[b"micro-span-id"]) == (b"a" * 32, b"b" * 16)
        found = {b"micro-trace-id": b"t", b"micro-span-id": b"s"}
        traced(found)
        assert found == {b"micro-trace-id": b"t", b"micro-span-id": b"s"}

    def test_a_new_trace_is_told_in_both_forms(self):
        for parent in (
            b"", b"00-" + b"0" * 32 + b"-" + b"b" * 16 + b"-01", b"00-" + b"a" * 32 + b"-" + b"0" * 16 + b"-01",
            b"ff-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01", b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01-x",
            b"00-" + b"A" * 32 + b"-" + b"b" * 16 + b"-01", b"00-" + b"a" * 31 + b"-" + b"b" * 17 + b"-01",
        ):  # fmt: skip
            found = {b"traceparent": parent}
            traced(found)
            assert found[b"traceparent"] == b"00-%b-%b-01" % (found[b"micro-trace-id"], found[b"micro-span-id"])
            assert found[b"micro-trace-id"] != b"a" * 32

    def test_a_token_in_a_cookie_may_name_itself(self):
        for cookie in (b"micro-token=t", b"micro-token=micro-token=t", b'x=1; micro-token="t"'):
            found = {b"cookie": cookie}
            identify(found, Cors(), "h")
            assert found[b"authorization"] == b"Bearer t"
            assert b"micro-token" not in found.get(b"cookie", b"")
        found = {b"cookie": b"micro-token=t", b"authorization": b"Basic x"}
        identify(found, Cors(), "h")
        assert found == {}
