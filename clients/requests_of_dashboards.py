"""The requests that Portainer, lazydocker and ctop make, as they make them: raw HTTP over the socket, no library in between."""

import http.client
import json
import os
import socket
import sys
from urllib.parse import quote

from steps import Steps, holds, same

PATH = os.environ["DOCKER_HOST"].removeprefix("unix://")
if not PATH.startswith("/"):
    sys.exit("DOCKER_HOST has to be a unix socket here")


class Connection(http.client.HTTPConnection):
    """HTTP over the socket."""

    def __init__(self, timeout=20):
        super().__init__("localhost", timeout=timeout)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(PATH)


def call(method, path, status, body=None, headers=None):
    """One request, whose status has to be the given one; its document, or the bytes where it is none."""
    connection = Connection()
    headers = dict(headers or {})
    if body is not None:
        body = json.dumps(body)
        headers["Content-Type"] = "application/json"
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    if answer.status != status:
        raise AssertionError(f"{method} {path}: {answer.status} {content[:300]!r}, wanted {status}")
    if answer.headers.get("Content-Type", "").startswith("application/json") and content:
        return json.loads(content)
    return content


def filters(**words):
    return quote(json.dumps(words))


def upgraded(path, body, send, until):
    """A hijacked request with Upgrade, as Portainer's console makes it."""
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(10)
        raw.connect(PATH)
        content = json.dumps(body).encode()
        raw.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
                    f"Content-Length: {len(content)}\r\n\r\n".encode() + content)
        text = b""
        while b"\r\n\r\n" not in text:
            text += raw.recv(4096)
        same(text.split(b"\r\n")[0], b"HTTP/1.1 101 UPGRADED")
        raw.sendall(send)
        text = text.split(b"\r\n\r\n", 1)[1]
        while until not in text:
            part = raw.recv(4096)
            holds(part, f"the end came before {until!r}: {text!r}")
            text += part


steps = Steps()
step = steps.step
for name in ("dash-one", "dash-one-old"):
    try:
        call("DELETE", f"/containers/{name}?force=true&v=true", 204)
    except AssertionError:
        pass

# Portainer, as it looks at an environment.
step("ping", lambda: same(call("GET", "/_ping", 200), b"OK"))
step("info", lambda: holds(call("GET", "/info", 200)["Swarm"]["LocalNodeState"] == "inactive", "Swarm is on"))
step("version", lambda: holds(call("GET", "/version", 200)["Components"], "no components"))
step("containers", lambda: call("GET", "/containers/json?all=1&size=0", 200))
step("images", lambda: call("GET", "/images/json?all=0", 200))
step("images in use", lambda: call("GET", f"/images/json?filters={filters(dangling=['true'])}", 200))
step("volumes", lambda: holds("Volumes" in call("GET", f"/volumes?filters={filters(dangling=['false'])}", 200), "no list"))
step("networks", lambda: holds(any(one["Name"] == "bridge" for one in call("GET", "/networks", 200)), "no bridge"))
step("plugins", lambda: same(call("GET", "/plugins", 200), []))
step("swarm", lambda: call("GET", "/swarm", 503))
step("services", lambda: call("GET", "/services", 503))
step("df", lambda: call("GET", "/system/df", 200))
step("events of an hour", lambda: call("GET", "/events?since=1&until=2", 200))

config = {"Image": "busybox", "Cmd": ["sh", "-c", "while :; do sleep 0.1; done"], "Tty": True, "OpenStdin": True, "Env": [], "Labels": {"clients": "dash"},
          "ExposedPorts": {"80/tcp": {}}, "HostConfig": {"PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}, "RestartPolicy": {"Name": "no"},
          "Binds": [], "NetworkMode": "bridge", "Privileged": False, "ExtraHosts": [], "Devices": [], "CapAdd": [], "CapDrop": [], "Sysctls": {}, "Runtime": ""},
          "NetworkingConfig": {"EndpointsConfig": {"bridge": {"IPAMConfig": {"IPv4Address": "", "IPv6Address": ""}, "Aliases": []}}}, "Volumes": {}, "name": "dash-one"}
step("create", lambda: holds(call("POST", "/containers/create?name=dash-one", 201, config)["Warnings"] is not None, "no warnings"))
step("start", lambda: call("POST", "/containers/dash-one/start", 204, {}))
step("inspect", lambda: same(call("GET", "/containers/dash-one/json", 200)["State"]["Status"], "running"))
step("resize", lambda: call("POST", "/containers/dash-one/resize?h=40&w=120", 200))
step("stats", lambda: holds(call("GET", "/containers/dash-one/stats?stream=false", 200)["precpu_stats"] is not None, "no processor"))
step("stats, one shot", lambda: call("GET", "/containers/dash-one/stats?stream=false&one-shot=true", 200))
step("top", lambda: holds(call("GET", "/containers/dash-one/top?ps_args=", 200)["Titles"], "no titles"))
step("logs", lambda: call("GET", "/containers/dash-one/logs?stderr=1&stdout=1&tail=100&timestamps=0&since=0", 200))
step("console", lambda: upgraded(
    "/exec/" + call("POST", "/containers/dash-one/exec", 201, {"AttachStdin": True, "AttachStdout": True, "AttachStderr": True, "Tty": True, "Cmd": ["sh"], "User": ""})["Id"] + "/start",
    {"Detach": False, "Tty": True}, b"echo $((6*7))\nexit\n", b"42"))
step("attach", lambda: upgraded("/containers/dash-one/attach?stdin=1&stdout=1&stderr=1&stream=1&logs=0", {}, b"\x10\x11", b""))
step("kill", lambda: call("POST", "/containers/dash-one/kill", 204))
step("recreate: stop", lambda: call("POST", "/containers/dash-one/stop", 304))
step("recreate: rename", lambda: call("POST", "/containers/dash-one/rename?name=dash-one-old", 204))
step("recreate: disconnect", lambda: call("POST", "/networks/bridge/disconnect", 200, {"Container": "dash-one-old", "Force": True}))
step("recreate: create", lambda: call("POST", "/containers/create?name=dash-one", 201, config))
step("recreate: start", lambda: call("POST", "/containers/dash-one/start", 204))
step("recreate: remove", lambda: call("DELETE", "/containers/dash-one-old?v=0&force=true", 204))
step("commit", lambda: call("POST", "/commit?container=dash-one&repo=dash-image&tag=1", 201))
step("image", lambda: call("GET", "/images/dash-image:1/json", 200))
step("layers", lambda: call("GET", "/images/dash-image:1/history", 200))
step("remove the image", lambda: call("DELETE", "/images/dash-image:1?force=true", 200))
step("network", lambda: call("POST", "/networks/create", 201, {"Name": "dash-net", "Driver": "bridge", "IPAM": {"Driver": "default", "Config": []}, "Internal": False, "Attachable": True, "Options": {}, "Labels": {}}))
step("join", lambda: call("POST", "/networks/dash-net/connect", 200, {"Container": "dash-one"}))
step("leave", lambda: call("POST", "/networks/dash-net/disconnect", 200, {"Container": "dash-one"}))
step("remove the network", lambda: call("DELETE", "/networks/dash-net", 204))
step("volume", lambda: call("POST", "/volumes/create", 201, {"Name": "dash-volume", "Driver": "local", "DriverOpts": {}}))
step("remove the volume", lambda: call("DELETE", "/volumes/dash-volume", 204))

# lazydocker and ctop: pinned versions, lists with every flag, streams.
step("v1.25: containers", lambda: call("GET", "/v1.25/containers/json?all=1", 200))
step("v1.24: inspect", lambda: call("GET", "/v1.24/containers/dash-one/json", 200))
step("v1.44: images", lambda: call("GET", "/v1.44/images/json", 200))
step("pause", lambda: call("POST", "/containers/dash-one/pause", 204))
step("unpause", lambda: call("POST", "/containers/dash-one/unpause", 204))
step("restart", lambda: call("POST", "/containers/dash-one/restart?t=0", 204))


def stream():
    connection = Connection()
    connection.request("GET", "/v1.25/containers/dash-one/stats?stream=1")
    answer = connection.getresponse()
    holds("memory_stats" in json.loads(answer.readline()), "no memory")
    connection.close()


step("stats, followed", stream)
step("remove", lambda: call("DELETE", "/containers/dash-one?force=1&v=1", 204))
step("prune containers", lambda: call("POST", f"/containers/prune?filters={filters(label=['clients=dash'])}", 200))
step("prune networks", lambda: call("POST", f"/networks/prune?filters={filters(label=['clients=dash'])}", 200))
step("prune volumes", lambda: call("POST", f"/volumes/prune?filters={filters(label=['clients=dash'])}", 200))
step("prune images", lambda: call("POST", f"/images/prune?filters={filters(label=['clients=dash'])}", 200))
step("what is not there", lambda: same(call("GET", "/no/such", 404)["message"], "page not found"))
steps.finish()
