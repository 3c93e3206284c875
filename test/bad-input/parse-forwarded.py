"""Reads requests, one per line as base64, with the two parsers that stand before vLLM, and prints what each made of it.

One JSON object per line of input: {"h11": READING, "httptools": READING}; a READING is {"requests": [...], "faults": N}.
"""

import base64
import json
import sys

import h11
import httptools


def told(method, target, fields, body):
    return {
        "method": method.decode("latin1"),
        "target": target.decode("latin1"),
        "fields": [[name.decode("latin1").lower(), value.decode("latin1")] for name, value in fields],
        "body": base64.b64encode(body).decode(),
    }


def by_h11(raw):
    connection = h11.Connection(our_role=h11.SERVER)
    requests, faults = [], 0
    connection.receive_data(raw)
    head, body = None, b""
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                head, body = event, b""
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                requests.append(told(head.method, head.target, head.headers.raw_items(), body))
                faults += len(event.headers)
                connection.send(h11.Response(status_code=200, headers=[(b"content-length", b"0")]))
                connection.send(h11.EndOfMessage())
                if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                    break
                connection.start_next_cycle()
            else:
                break
    except h11.RemoteProtocolError:
        faults += 1
    return {"requests": requests, "faults": faults + len(connection.trailing_data[0])}


class Sink:
    def __init__(self):
        self.requests, self.target, self.fields, self.body, self.parser = [], b"", [], b"", None

    def on_message_begin(self):
        self.target, self.fields, self.body = b"", [], b""

    def on_url(self, url):
        self.target += url

    def on_header(self, name, value):
        self.fields.append((name, value))

    def on_body(self, body):
        self.body += body

    def on_message_complete(self):
        self.requests.append(told(self.parser.get_method(), self.target, self.fields, self.body))


def by_httptools(raw):
    sink = Sink()
    sink.parser = httptools.HttpRequestParser(sink)
    faults = 0
    try:
        sink.parser.feed_data(raw)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        faults += 1
    return {"requests": sink.requests, "faults": faults}


for line in sys.stdin:
    raw = base64.b64decode(line)
    print(json.dumps({"h11": by_h11(raw), "httptools": by_httptools(raw)}))
