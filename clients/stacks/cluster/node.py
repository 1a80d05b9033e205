"""A node: whoever is asked hands writes to the leader, which keeps them once most of the three have them."""

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import urlopen

OWN = int(os.environ["ID"])
LOG = "/log/entries"


def entries():
    return open(LOG, encoding="utf-8").read().split() if os.path.exists(LOG) else []


def append(word):
    if word not in entries():
        with open(LOG, "a", encoding="utf-8") as file:
            file.write(word + "\n")
            file.flush()
            os.fsync(file.fileno())


def ask(node, path):
    return urlopen(f"http://node{node}:9000/{path}", timeout=2).read().decode()


def alive(node):
    try:
        return node == OWN or ask(node, "alive") == "yes"
    except OSError:
        return False


def write(word):
    leader = next(node for node in (1, 2, 3) if alive(node))
    if leader != OWN:
        return ask(leader, f"write?{word}")
    append(word)
    copies = 1
    for node in {1, 2, 3} - {OWN}:
        try:
            ask(node, f"copy?{word}")
            copies += 1
        except OSError:
            pass
    if copies < 2:
        raise RuntimeError("most of the nodes are gone")
    return f"node{OWN} {copies}"


def catch_up():
    for node in {1, 2, 3} - {OWN}:
        try:
            for word in ask(node, "read").split():
                append(word)
        except OSError:
            pass


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        path, _, word = self.path.lstrip("/").partition("?")
        try:
            if path == "write":
                text = write(word)
            elif path == "copy":
                append(word)
                text = "copied"
            elif path == "read":
                text = " ".join(entries())
            elif path == "ready":
                text = str(sum(alive(node) for node in (1, 2, 3)))
                if int(text) < 2:
                    raise RuntimeError("alone")
            else:
                text = "yes"
            self.send_response(200)
        except Exception as error:  # noqa: BLE001 - a person reads it
            text = repr(error)
            self.send_response(503)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *words):
        pass


server = ThreadingHTTPServer(("", 9000), Handler)
catch_up()
server.serve_forever()
