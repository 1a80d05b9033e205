"""docker-py: the life of containers, exec, streams, archives, images, networks, volumes, events, prunes and errors."""

import io
import os
import tarfile
import tempfile
import threading
import time
from urllib.request import urlopen

import docker
from docker import errors, types

from steps import Steps, fails, holds, same

MARK = {"clients": "docker-py"}
client = docker.from_env()
api = client.api
steps = Steps()
step = steps.step


def clean():
    """Removes what an earlier run left."""
    for container in client.containers.list(all=True, filters={"label": "clients=docker-py"}):
        container.remove(force=True, v=True)
    for network in client.networks.list(filters={"label": "clients=docker-py"}):
        network.remove()
    for volume in client.volumes.list(filters={"label": "clients=docker-py"}):
        volume.remove(force=True)


def archive(files):
    """A tar archive of names and bytes."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry.mode = 0o644
            tar.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def create(name, command, **more):
    return client.containers.create("busybox", command, name=f"py-{name}", labels=MARK, **more)


clean()

# The daemon.
step("ping", lambda: holds(client.ping(), "no answer"))
step("version", lambda: holds(client.version()["ApiVersion"] >= "1.24", "the API is too old"))
step("info", lambda: holds(client.info()["OSType"] == "linux", "no Linux"))
step("df", lambda: holds({"Images", "Containers", "Volumes"} <= set(client.df()), "parts are missing"))
step("old version", lambda: same(docker.DockerClient(base_url=os.environ["DOCKER_HOST"], version="1.24").version()["Os"], "linux"))

# Runs.
step("run", lambda: same(client.containers.run("busybox", "echo hello", remove=True, labels=MARK), b"hello\n"))
step("run, stderr", lambda: same(
    client.containers.run("busybox", ["sh", "-c", "echo out; echo err >&2"], remove=True, stdout=False, stderr=True, labels=MARK),
    b"err\n"))


def run_failing():
    error = fails(errors.ContainerError, lambda: client.containers.run("busybox", ["sh", "-c", "echo no >&2; exit 3"], remove=True, labels=MARK))
    same((error.exit_status, error.stderr), (3, b"no\n"))


step("run, exit status", run_failing)
step("run, no image", lambda: fails((errors.ImageNotFound, errors.NotFound, errors.APIError), lambda: client.containers.run("no.such.host.invalid/no/such:image", "true")))
step("run, no command", lambda: fails(errors.APIError, lambda: client.containers.run("busybox", "no-such-command", remove=True, labels=MARK)))


def options():
    container = create(
        "options", ["sh", "-c", "echo $A; id -u; hostname; pwd; cat /proc/sys/kernel/shmmni; ulimit -n; grep -w 10.0.0.1 /etc/hosts; mount | grep -c ' /data '"],
        environment={"A": "b c"}, user="1000", hostname="host-x", working_dir="/tmp", sysctls={"kernel.shmmni": "99"},
        ulimits=[types.Ulimit(name="nofile", soft=77, hard=88)], extra_hosts={"x": "10.0.0.1"}, tmpfs={"/data": "size=1m"},
        mem_limit="64m", cpu_shares=512, pids_limit=100, cap_drop=["ALL"], read_only=True, init=True,
        healthcheck={"test": ["CMD", "true"], "interval": 1_000_000_000}, restart_policy={"Name": "on-failure", "MaximumRetryCount": 2},
        log_config=types.LogConfig(type=types.LogConfig.types.JSON, config={"max-size": "1m"}))
    container.start()
    same(container.wait()["StatusCode"], 0)
    lines = container.logs().decode().split()
    same(lines, ["b", "c", "1000", "host-x", "/tmp", "99", "77", "10.0.0.1", "x", "1"])
    container.reload()
    host = container.attrs["HostConfig"]
    same((host["Memory"], host["CpuShares"], host["PidsLimit"], host["ReadonlyRootfs"]), (64 << 20, 512, 100, True))
    same((host["RestartPolicy"]["MaximumRetryCount"], host["LogConfig"]["Config"]["max-size"]), (2, "1m"))
    container.remove()


step("every option", options)

# A life.
life = step("create", lambda: create("life", ["sh", "-c", "trap 'exit 7' TERM; echo started; while :; do sleep 0.1; done"], detach=True, stdin_open=True))
step("created", lambda: same(life.status, "created"))
step("start", lambda: life.start())
step("start again", lambda: life.start())
step("running", lambda: (life.reload(), same(life.status, "running")))
step("list", lambda: same([one.name for one in client.containers.list(filters={"label": "clients=docker-py"})], ["py-life"]))
step("list, all filters", lambda: same(len(client.containers.list(all=True, limit=1, since=None, filters={"status": "running", "name": "py-life", "ancestor": "busybox"})), 1))
step("top", lambda: holds(life.top()["Processes"], "no process"))
step("top, columns", lambda: same(life.top(ps_args="-o pid,comm")["Titles"], ["PID", "COMMAND"]))
step("stats, one", lambda: holds(life.stats(stream=False)["memory_stats"]["usage"] > 0, "no memory"))
step("stats, stream", lambda: holds("cpu_stats" in next(iter(life.stats(decode=True))), "no processor"))
step("pause", lambda: (life.pause(), life.reload(), same(life.status, "paused")))
step("pause again", lambda: fails(errors.APIError, life.pause))
step("unpause", lambda: (life.unpause(), life.reload(), same(life.status, "running")))
step("update", lambda: (life.update(mem_limit="128m", memswap_limit="256m"), life.reload(), same(life.attrs["HostConfig"]["Memory"], 128 << 20)))
step("rename", lambda: (life.rename("py-other"), life.reload(), same(life.name, "py-other")))
step("rename to a taken name", lambda: (create("taken", "true"), same(fails(errors.APIError, lambda: life.rename("py-taken")).status_code, 409)))
step("exec", lambda: same(tuple(life.exec_run(["sh", "-c", "echo $X; exit 4"], environment={"X": "y"})), (4, b"y\n")))
step("exec, both streams", lambda: same(life.exec_run(["sh", "-c", "echo o; echo e >&2"], demux=True).output, (b"o\n", b"e\n")))
step("exec, stream", lambda: same(b"".join(life.exec_run(["sh", "-c", "echo a; sleep 0.2; echo b"], stream=True).output), b"a\nb\n"))
step("exec, terminal", lambda: same(life.exec_run(["tty"], tty=True).output.strip(), b"/dev/pts/0"))
step("exec, user and folder", lambda: same(life.exec_run(["sh", "-c", "id -u; pwd"], user="12", workdir="/tmp").output, b"12\n/tmp\n"))
step("exec, no command", lambda: same(life.exec_run(["no-such-command"]).exit_code in (126, 127), True))


def exec_socket():
    made = api.exec_create(life.id, ["cat"], stdin=True, tty=True)
    socket = api.exec_start(made["Id"], tty=True, socket=True)
    raw = getattr(socket, "_sock", socket)
    raw.sendall(b"ping\n")
    raw.settimeout(5)
    text = b""
    while text.count(b"ping") < 2:
        text += raw.recv(100)
    raw.sendall(b"\x04")
    while raw.recv(100):
        pass
    raw.close()
    for _ in range(50):
        if not api.exec_inspect(made["Id"])["Running"]:
            break
        time.sleep(0.1)
    same(api.exec_inspect(made["Id"])["ExitCode"], 0)


step("exec, socket", exec_socket)
step("resize", lambda: life.resize(30, 100))


def attach():
    container = create("attach", ["sh", "-c", "read line; echo got $line"], stdin_open=True)
    socket = container.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
    container.start()
    raw = getattr(socket, "_sock", socket)
    raw.sendall(b"text\n")
    raw.settimeout(10)
    same(raw.recv(8), b"\x01\0\0\0\0\0\0\x09")
    same(raw.recv(100), b"got text\n")
    raw.close()
    container.wait()
    container.remove()


step("attach", attach)


def logs():
    container = create("logs", ["sh", "-c", "for i in 1 2 3; do echo $i; done; echo e >&2; sleep 0.5; echo last"])
    container.start()
    followed = b"".join(container.logs(stream=True, follow=True))
    holds(followed.endswith(b"last\n") and b"3\n" in followed, followed)
    same(container.logs(stdout=False), b"e\n")
    same(container.logs(tail=1), b"last\n")
    holds(container.logs(timestamps=True, tail=1)[:2] == b"20", "no time")
    same(container.logs(since=int(time.time()) + 100), b"")
    container.remove()


step("logs", logs)


def archives():
    container = create("archive", "true")
    holds(container.put_archive("/tmp", archive({"one": b"1", "dir/two": b"22"})), "put failed")
    bits, stat = container.get_archive("/tmp/dir/two")
    same((stat["name"], stat["size"]), ("two", 2))
    tar = tarfile.open(fileobj=io.BytesIO(b"".join(bits)))
    same(tar.extractfile("two").read(), b"22")
    error = fails(errors.NotFound, lambda: container.get_archive("/no/such"))
    holds("no such file or directory" in error.explanation.lower() or "Could not find the file" in error.explanation, error.explanation)
    fails(errors.NotFound, lambda: container.put_archive("/no/such", archive({"x": b""})))
    changed = container.diff()
    holds({"Path": "/tmp/one", "Kind": 1} in changed, changed)
    names = tarfile.open(fileobj=io.BytesIO(b"".join(container.export()))).getnames()
    holds("tmp/one" in names and "bin/sh" in names, "the export lacks files")
    image = container.commit(repository="py-committed", tag="1", message="m", author="a", changes=["ENV X=y", "CMD [\"true\"]"])
    holds("X=y" in image.attrs["Config"]["Env"], image.attrs["Config"])
    client.images.remove("py-committed:1")
    container.remove()


step("archives, diff, export, commit", archives)
step("kill", lambda: life.kill(signal="SIGTERM"))
step("wait", lambda: same(life.wait(timeout=20)["StatusCode"], 7))
step("wait, gone", lambda: same(life.wait(condition="not-running")["StatusCode"], 7))
step("restart", lambda: (life.restart(timeout=1), life.reload(), same(life.status, "running")))
step("remove a running one", lambda: same(fails(errors.APIError, life.remove).status_code, 409))
step("stop", lambda: (life.stop(timeout=5), life.reload(), same(life.status, "exited")))
step("stop again", lambda: life.stop())
step("remove", lambda: life.remove())
step("gone", lambda: fails(errors.NotFound, lambda: client.containers.get("py-other")))


def healthy():
    container = client.containers.run("busybox", "sleep 100", name="py-health", labels=MARK, detach=True, stop_signal="SIGKILL",
                                      healthcheck={"test": ["CMD-SHELL", "exit 0"], "interval": 200_000_000, "retries": 1})
    for _ in range(50):
        if client.containers.get("py-health").health == "healthy":
            break
        time.sleep(0.1)
    same(client.containers.get("py-health").health, "healthy")
    container.remove(force=True)


step("health", healthy)

# Images.
step("images", lambda: holds(any("busybox:latest" in image.tags for image in client.images.list()), "no busybox"))
step("images, filters", lambda: same(client.images.list(name="busybox", filters={"dangling": True}), []))
image = step("image", lambda: client.images.get("busybox"))
step("image, no", lambda: fails(errors.ImageNotFound, lambda: client.images.get("no-such-image")))
step("tag", lambda: same(image.tag("py-tagged", tag="2"), True))
step("history", lambda: holds(image.history(), "no history"))
saved = step("save", lambda: b"".join(image.save(named="busybox:latest")))
step("save by name", lambda: holds(tarfile.open(fileobj=io.BytesIO(saved)).getmember("manifest.json"), "no manifest"))
step("load", lambda: same([one.id for one in client.images.load(saved)][:1], [image.id]))
step("remove a tag", lambda: client.images.remove("py-tagged:2"))
step("import", lambda: holds(b"sha256" in api.import_image_from_data(archive({"file": b"x"}), repository="py-imported", tag="1").encode(), "no id"))
step("remove the import", lambda: client.images.remove("py-imported:1"))
step("images pruned", lambda: holds("SpaceReclaimed" in client.images.prune(filters={"label": "clients=docker-py"}), "no answer"))

# Networks.
network = step("network", lambda: client.networks.create(
    "py-net", driver="bridge", labels=MARK, internal=True, options={"com.docker.network.bridge.name": "py-bridge0"},
    ipam=types.IPAMConfig(pool_configs=[types.IPAMPool(subnet="10.213.7.0/24", gateway="10.213.7.1", aux_addresses={"x": "10.213.7.9"})])))
step("network, taken", lambda: same(fails(errors.APIError, lambda: client.networks.create("py-net", labels=MARK)).status_code, 409))
step("networks", lambda: same([one.name for one in client.networks.list(names=["py-net"])], ["py-net"]))


def connected():
    server = client.containers.run("busybox", ["sh", "-c", "echo page > /tmp/index.html; exec httpd -f -h /tmp -p 80"], name="py-server", labels=MARK, detach=True, network="py-net")
    peer = client.containers.run("busybox", "sleep 100", name="py-peer", labels=MARK, detach=True, stop_signal="SIGKILL")
    network.connect(peer, aliases=["alias-x"], ipv4_address="10.213.7.77")
    peer.reload()
    same(peer.attrs["NetworkSettings"]["Networks"]["py-net"]["IPAddress"], "10.213.7.77")
    for _ in range(30):
        answer = peer.exec_run(["wget", "-qO-", "http://py-server/"])
        if answer.exit_code == 0:
            break
        time.sleep(0.1)
    same(answer.output, b"page\n")
    holds(b"10.213.7.77" in server.exec_run(["nslookup", "alias-x"]).output, "the alias is unknown")
    network.reload()
    same(sorted(one.name for one in network.containers), ["py-peer", "py-server"])
    same(fails(errors.APIError, network.remove).status_code, 403)
    network.disconnect(peer)
    network.disconnect(server, force=True)
    for container in (peer, server):
        container.remove(force=True)


step("connect and disconnect", connected)
step("network, removed", lambda: network.remove())
step("network, gone", lambda: fails(errors.NotFound, lambda: client.networks.get("py-net")))
step("networks pruned", lambda: client.networks.prune(filters={"label": "clients=docker-py"}))


def ports():
    container = client.containers.run("busybox", ["sh", "-c", "echo port > /tmp/index.html; exec httpd -f -h /tmp -p 8080"], name="py-port", labels=MARK, detach=True, ports={"8080/tcp": ("127.0.0.1", None), "9/udp": None})
    container.reload()
    port = container.ports["8080/tcp"][0]
    same(port["HostIp"], "127.0.0.1")
    for attempt in range(30):
        try:
            same(urlopen(f"http://127.0.0.1:{port['HostPort']}/", timeout=5).read(), b"port\n")
            break
        except OSError:
            time.sleep(0.1)
    else:
        raise AssertionError("the port does not answer")
    same(api.port(container.id, 8080)[0]["HostPort"], port["HostPort"])
    container.remove(force=True)


step("ports", ports)

# Volumes.
volume = step("volume", lambda: client.volumes.create("py-volume", driver="local", labels=MARK))
step("volumes", lambda: same([one.name for one in client.volumes.list(filters={"name": "py-volume"})], ["py-volume"]))
step("volume, written", lambda: client.containers.run("busybox", ["sh", "-c", "echo kept > /v/file"], remove=True, labels=MARK, volumes={"py-volume": {"bind": "/v", "mode": "rw"}}))
step("volume, read only", lambda: same(client.containers.run("busybox", ["sh", "-c", "cat /v/file; touch /v/x || true"], remove=True, labels=MARK, mounts=[types.Mount("/v", "py-volume", read_only=True)]), b"kept\n"))
step("volume in use", lambda: (create("user", "true", volumes=["py-volume:/v"]), same(fails(errors.APIError, volume.remove).status_code, 409), client.containers.get("py-user").remove()))
step("volume, removed", lambda: volume.remove())
step("volume, gone", lambda: fails(errors.NotFound, lambda: client.volumes.get("py-volume")))
step("volumes pruned", lambda: holds("SpaceReclaimed" in client.volumes.prune(filters={"label": "clients=docker-py"}), "no answer"))


def bind():
    with tempfile.TemporaryDirectory(dir=os.environ.get("CLIENTS_FOLDER")) as folder:
        with open(f"{folder}/file", "w", encoding="utf-8") as file:
            file.write("bound")
        same(client.containers.run("busybox", "cat /b/file", remove=True, labels=MARK, volumes=[f"{folder}:/b:ro"]), b"bound")
    fails(errors.APIError, lambda: client.containers.run("busybox", "true", labels=MARK, remove=True, mounts=[types.Mount("/b", "/no/such/folder", type="bind")]))


step("binds", bind)


def events():
    begin = time.time()
    seen = []
    stream = client.events(decode=True, filters={"label": "clients=docker-py", "type": "container"})

    def listen():
        for event in stream:
            seen.append(event["Action"])
            if event["Action"] == "destroy":
                break

    thread = threading.Thread(target=listen)
    thread.start()
    time.sleep(0.3)
    client.containers.run("busybox", "true", labels=MARK, remove=True, name="py-event")
    thread.join(10)
    stream.close()
    for action in ("create", "start", "die", "destroy"):
        holds(action in seen, f"{action} is missing in {seen}")
    past = client.events(decode=True, since=int(begin), until=int(time.time()) + 1, filters={"container": "py-event"})
    holds("die" in [event["Action"] for event in past], "the past is unknown")


step("events", events)
step("containers pruned", lambda: holds("SpaceReclaimed" in client.containers.prune(filters={"label": "clients=docker-py"}), "no answer"))
step("bad names are refused", lambda: same(fails(errors.APIError, lambda: client.containers.create("busybox", name="a/b")).status_code, 400))
step("no swarm", lambda: same(fails(errors.APIError, client.services.list).status_code, 503))
step("login is refused or unreachable", lambda: fails(errors.APIError, lambda: client.login("nobody", "x", registry="127.0.0.1:1")))
clean()
steps.finish()
