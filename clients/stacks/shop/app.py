"""Counts visits in redis and writes each into postgres; speaks both protocols itself, for want of libraries."""

import os
import socket
import struct
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def cache(*words):
    """One command of redis (RESP), and its answer's first line."""
    with socket.create_connection((os.environ["CACHE"], 6379), timeout=5) as connection:
        command = f"*{len(words)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
        connection.sendall(command.encode())
        return connection.makefile("rb").readline().decode().strip()


def query(text):
    """One simple query of postgres (protocol 3.0), and its rows of texts."""
    with socket.create_connection((os.environ["DATABASE"], 5432), timeout=5) as connection:
        begin = struct.pack("!I", 196608) + b"user\0postgres\0database\0shop\0\0"
        connection.sendall(struct.pack("!I", len(begin) + 4) + begin)
        stream = connection.makefile("rb")
        asked, rows = False, []
        while True:
            kind = stream.read(1)
            body = stream.read(struct.unpack("!I", stream.read(4))[0] - 4)
            if kind == b"E":
                raise RuntimeError(body)
            if kind == b"D":
                row, at = [], 2
                for _ in range(struct.unpack("!H", body[:2])[0]):
                    size = struct.unpack("!i", body[at:at + 4])[0]
                    row.append(body[at + 4:at + 4 + size].decode())
                    at += 4 + size
                rows.append(row)
            if kind == b"Z":
                if asked:
                    return rows
                asked = True
                connection.sendall(b"Q" + struct.pack("!I", len(text) + 5) + text.encode() + b"\0")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            if self.path == "/health":
                cache("PING")
                query("select 1")
                text = "healthy"
            elif self.path == "/visit":
                count = cache("INCR", "visits").lstrip(":")
                query(f"insert into visits values ({int(count)})")
                text = f"visit {count}"
            elif self.path == "/kept":
                text = query("select count(*) from visits")[0][0]
            else:
                text = open("/run/secrets/greeting", encoding="utf-8").read()
            self.send_response(200)
        except Exception as error:  # noqa: BLE001 - a person reads it
            text = repr(error)
            self.send_response(500)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *words):
        pass


query("create table if not exists visits (number int)")
ThreadingHTTPServer(("", 8000), Handler).serve_forever()
