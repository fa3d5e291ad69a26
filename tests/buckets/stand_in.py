"""A stand-in for Google Cloud Storage: enough of its JSON API for gcsfs, TensorStore and google-cloud-storage.

Buckets are dicts in this process; the libraries are the real ones and talk to it over HTTP (see `environment`). What
matters here is done as the service does it: an object appears whole, with a new generation; `ifGenerationMatch=0`
creates one only where there is none; lists and reads see every write that was answered.
"""

import contextlib
import dataclasses
import datetime
import http.server
import itertools
import json
import re
import threading
import urllib.parse
from collections.abc import Generator

BUCKET = "shelf"
OBJECT = re.compile(r"/(?:upload/|download/)?storage/v1/b/(?P<bucket>[^/]+)/o/(?P<key>[^/]+)(?P<more>/.*)?")
OBJECTS = re.compile(r"/(?P<upload>upload/)?storage/v1/b/(?P<bucket>[^/]+)/o")
A_BUCKET = re.compile(r"/storage/v1/b/(?P<bucket>[^/]+)")
PAGE = 1000  # names of a list, at most


@dataclasses.dataclass(frozen=True)
class Object:
    """An object as it was written last."""

    content: bytes
    generation: int
    created: str
    updated: str
    metageneration: int = 1

    def says(self, bucket: str, key: str) -> dict:
        return {
            "kind": "storage#object",
            "bucket": bucket,
            "name": key,
            "size": str(len(self.content)),
            "generation": str(self.generation),
            "metageneration": str(self.metageneration),
            "timeCreated": self.created,
            "updated": self.updated,
            "contentType": "application/octet-stream",
            "etag": f"e{self.generation}",
        }


class Refused(Exception):
    """What the service answers instead of what was asked for."""

    def __init__(self, code: int, why: str):
        super().__init__(why)
        self.code, self.why = code, why


class StandIn:
    """The service: its objects, what was asked of it, and what it is to refuse.

    `requests` are (method, what, key), in order. `refuse` is called with the same before anything is done, and may
    raise `Refused`; where `lose` returns true, what was asked for is done, and its answer lost.
    """

    def __init__(self):
        self.objects: dict[tuple[str, str], Object] = {}
        self.requests: list[tuple[str, str, str]] = []
        self.refuse = lambda method, what, key: None
        self.lose = lambda method, what, key: False
        self.lock = threading.RLock()
        self.uploads: dict[str, dict] = {}
        self._generations = itertools.count(1700000000000001)
        self._numbers = itertools.count()

    def keys(self, prefix: str = "") -> list[str]:
        with self.lock:
            return sorted(key for _, key in self.objects if key.startswith(prefix))

    def read(self, key: str) -> bytes:
        with self.lock:
            return self.objects[BUCKET, key].content

    def put(self, bucket: str, key: str, content: bytes, asked: dict[str, str]) -> dict:
        with self.lock:
            there = self.objects.get((bucket, key))
            self.check(there, asked)
            now = _now()
            made = Object(content, next(self._generations), now, now)
            self.objects[bucket, key] = made
            return made.says(bucket, key)

    def check(self, there: Object | None, asked: dict[str, str]) -> None:
        """Raises what a precondition that does not hold is answered with."""
        wanted = asked.get("ifGenerationMatch")
        if wanted is not None and int(wanted) != (there.generation if there else 0):
            raise Refused(412, "conditionNotMet")
        wanted = asked.get("ifMetagenerationMatch")
        if wanted is not None and int(wanted) != (there.metageneration if there else 0):
            raise Refused(412, "conditionNotMet")
        unwanted = asked.get("ifGenerationNotMatch")
        if unwanted is not None and int(unwanted) == (there.generation if there else 0):
            raise Refused(304, "notModified")

    def begin(self, bucket: str, asked: dict[str, str]) -> str:
        number = str(next(self._numbers))
        with self.lock:
            self.uploads[number] = {"bucket": bucket, "asked": asked, "content": b""}
        return number


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service: StandIn

    def log_message(self, *_):
        pass

    def _any(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        asked = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        body = self._body()
        self._lost = False
        try:
            self._answer(url.path, asked, body)
        except Refused as error:
            said = {"error": {"code": error.code, "message": error.why, "errors": [{"reason": error.why}]}}
            self._send(error.code, b"" if error.code == 304 else json.dumps(said).encode())

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = _any

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, path: str, asked: dict[str, str], body: bytes) -> None:
        if found := OBJECT.fullmatch(path):
            key = urllib.parse.unquote(found["key"])
            self._note(self._what(asked, found["more"]), key)
            self._object(found["bucket"], key, found["more"] or "", asked, body)
        elif found := OBJECTS.fullmatch(path):
            if found["upload"]:
                self._upload(found["bucket"], asked, body)
            else:
                self._note("list", asked.get("prefix", ""))
                self._list(found["bucket"], asked)
        elif found := A_BUCKET.fullmatch(path):
            self._note("bucket", "")
            if found["bucket"] != BUCKET:
                raise Refused(404, "notFound")
            self._say({"kind": "storage#bucket", "name": BUCKET, "id": BUCKET})
        else:
            raise Refused(501, f"{self.command} {path} is not part of this stand-in")

    def _what(self, asked: dict[str, str], more: str | None) -> str:
        if more:
            return "copy"
        if self.command == "GET":
            return "read" if asked.get("alt") == "media" else "look"
        return {"DELETE": "delete", "PATCH": "stamp"}.get(self.command, self.command)

    def _note(self, what: str, key: str) -> None:
        with self.service.lock:
            self.service.requests.append((self.command, what, key))
        self.service.refuse(self.command, what, key)
        self._lost = self.service.lose(self.command, what, key)

    def _object(self, bucket: str, key: str, more: str, asked: dict[str, str], body: bytes) -> None:
        service = self.service
        with service.lock:
            there = service.objects.get((bucket, key))
            if there is None:
                raise Refused(404, f"No such object: {bucket}/{key}")
            if self.command != "GET" or "ifGenerationNotMatch" in asked or "ifGenerationMatch" in asked:
                service.check(there, asked)
            if more:
                _, _, target = more.partition("/b/")
                to_bucket, _, to = target.partition("/o/")
                made = service.put(to_bucket, urllib.parse.unquote(to), there.content, {})
                self._say({"kind": "storage#rewriteResponse", "done": True, "resource": made})
            elif self.command == "DELETE":
                del service.objects[bucket, key]
                self._send(204, b"")
            elif self.command == "PATCH":
                count = there.metageneration + 1
                changed = dataclasses.replace(there, updated=_now(), metageneration=count)
                service.objects[bucket, key] = changed
                self._say(changed.says(bucket, key))
            elif asked.get("alt") == "media":
                self._content(there)
            else:
                self._say(there.says(bucket, key))

    def _content(self, there: Object) -> None:
        content, code, headers = there.content, 200, {"X-Goog-Generation": str(there.generation)}
        wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range") or "")
        if wanted and len(content):
            size = len(content)
            first = int(wanted[1]) if wanted[1] else max(0, size - int(wanted[2]))
            last = min(int(wanted[2]), size - 1) if wanted[1] and wanted[2] else size - 1
            if first >= size:
                raise Refused(416, "requestedRangeNotSatisfiable")
            content, code = content[first : last + 1], 206
            headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        self._send(code, content, headers | {"Content-Type": "application/octet-stream"})

    def _list(self, bucket: str, asked: dict[str, str]) -> None:
        if bucket != BUCKET:
            raise Refused(404, "notFound")
        prefix, delimiter = asked.get("prefix", ""), asked.get("delimiter", "")
        after, most = asked.get("pageToken", ""), min(PAGE, int(asked.get("maxResults", PAGE)))
        items, prefixes, last = [], [], ""
        with self.service.lock:
            for key in self.service.keys(prefix):
                folder = prefix + key[len(prefix) :].partition(delimiter)[0] + delimiter if delimiter else ""
                name = folder if delimiter and delimiter in key[len(prefix) :] else key
                if name <= after or key < asked.get("startOffset", "") or key >= asked.get("endOffset", "\uffff"):
                    continue
                if name != last and len(items) + len(prefixes) == most:
                    self._say(_page(items, prefixes) | {"nextPageToken": last})
                    return
                if name != last:
                    items += [] if name == folder else [self.service.objects[bucket, key].says(bucket, key)]
                    prefixes += [name] if name == folder else []
                last = name
        self._say(_page(items, prefixes))

    def _upload(self, bucket: str, asked: dict[str, str], body: bytes) -> None:
        if bucket != BUCKET:
            raise Refused(404, "notFound")
        if number := asked.get("upload_id"):
            self._go_on(number, body)
            return
        kind = asked.get("uploadType")
        if kind == "multipart":
            about, content = _parts(self.headers["Content-Type"], body)
            asked = asked | {"name": about["name"]}
        elif kind == "media":
            content = body
        else:
            asked = asked | ({} if "name" in asked else {"name": json.loads(body)["name"]})
            self._note("begin", asked["name"])
            where = f"http://{self.headers['Host']}/upload/storage/v1/b/{bucket}/o?uploadType=resumable&upload_id="
            self._send(200, b"", {"Location": where + self.service.begin(bucket, asked)})
            return
        self._note("write", asked["name"])
        self._say(self.service.put(bucket, asked["name"], content, asked))

    def _go_on(self, number: str, body: bytes) -> None:
        upload = self.service.uploads[number]
        self._note("write", upload["asked"]["name"])
        if self.command == "DELETE":
            del self.service.uploads[number]
            self._send(499, b"")
            return
        upload["content"] += body
        found = re.fullmatch(r"bytes (?:\d+-\d+|\*)/(\d+|\*)", self.headers["Content-Range"])
        assert found, "a part without a range"
        if found[1] != "*" and int(found[1]) == len(upload["content"]):
            del self.service.uploads[number]
            self._say(self.service.put(upload["bucket"], upload["asked"]["name"], upload["content"], upload["asked"]))
            return
        self._send(308, b"", {"Range": f"bytes=0-{len(upload['content']) - 1}"})

    def _say(self, what: dict) -> None:
        self._send(200, json.dumps(what).encode(), {"Content-Type": "application/json"})

    def _send(self, code: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        if self._lost:
            self._lost, code, content = False, 503, b"{}"
        self.send_response(code)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if code not in (204, 304):
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _page(items: list[dict], prefixes: list[str]) -> dict:
    return (
        {"kind": "storage#objects"} | ({"items": items} if items else {}) | ({"prefixes": prefixes} if prefixes else {})
    )


def _parts(kind: str, body: bytes) -> tuple[dict, bytes]:
    """Returns the two parts of an upload: what is said of the object, and its content."""
    found = re.search(r"""boundary=["']?([^"';]+)""", kind)
    assert found, f"{kind} has no boundary"
    mark = b"--" + found[1].encode()
    begin = body.index(mark) + len(mark)
    middle = body.index(mark, begin)
    end = body.rindex(mark)
    about, content = body[begin:middle], body[middle + len(mark) : end]
    content = re.split(rb"\r?\n\r?\n", content, maxsplit=1)[1]
    return json.loads(re.split(rb"\r?\n\r?\n", about, maxsplit=1)[1]), re.sub(rb"\r?\n\Z", b"", content)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        """Says nothing: a process that is killed leaves its connections as they are."""


@contextlib.contextmanager
def served() -> Generator[tuple[StandIn, str]]:
    """Gives a service and its address, for a block."""
    service = StandIn()
    handler = type("Handler", (_Handler,), {"service": service})
    server = _Server(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield service, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def environment(address: str) -> dict[str, str]:
    """Returns the environment in which the libraries talk to a service at an address, and need no credentials."""
    return {"STORAGE_EMULATOR_HOST": address, "TENSORSTORE_GCS_HTTP_URL": address, "NO_GCE_CHECK": "true"}
