"""testcontainers for Python: a container with a wait, a network, a database until it answers, and Compose's files left out."""

import os

# Its cleaner is an image of its own, which is fetched from Docker Hub; without it the containers end with the script.
os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")

from urllib.request import urlopen  # noqa: E402

from testcontainers.core.container import DockerContainer  # noqa: E402
from testcontainers.core.network import Network  # noqa: E402
from testcontainers.core.wait_strategies import LogMessageWaitStrategy  # noqa: E402
from testcontainers.community.postgres import PostgresContainer  # noqa: E402

from steps import Steps, holds, same  # noqa: E402

steps = Steps()


def plain():
    with DockerContainer("busybox").with_command(["sh", "-c", "sleep 0.3; echo ready; sleep 100"]).waiting_for(LogMessageWaitStrategy("ready")) as container:
        same(container.exec(["echo", "x"]).output, b"x\n")
        out, err = container.get_logs()
        same((out, err), (b"ready\n", b""))
        holds(container.get_wrapped_container().short_id, "no id")


def port():
    command = ["sh", "-c", "echo page > /tmp/index.html; echo up; exec httpd -f -h /tmp -p 8080"]
    container = DockerContainer("busybox").with_command(command).with_exposed_ports(8080).with_env("A", "b")
    with container.waiting_for(LogMessageWaitStrategy("up")):
        address = f"http://{container.get_container_host_ip()}:{container.get_exposed_port(8080)}/"
        for _ in range(50):
            try:
                same(urlopen(address, timeout=5).read(), b"page\n")
                return
            except OSError:
                pass
        raise AssertionError(f"{address} does not answer")


def network():
    with Network() as own:
        server = DockerContainer("busybox").with_command(["sh", "-c", "echo net > /tmp/index.html; exec httpd -f -h /tmp -p 80"])
        with server.with_network(own).with_network_aliases("server"):
            with DockerContainer("busybox").with_command("sleep 100").with_network(own) as peer:
                for _ in range(30):
                    answer = peer.exec(["wget", "-qO-", "http://server/"])
                    if answer.exit_code == 0:
                        break
                same(answer.output, b"net\n")


def volumes():
    import tempfile

    with tempfile.TemporaryDirectory(dir=os.environ.get("CLIENTS_FOLDER")) as folder:
        with open(f"{folder}/file", "w", encoding="utf-8") as file:
            file.write("mounted")
        with DockerContainer("busybox").with_command("sleep 100").with_volume_mapping(folder, "/data", "ro") as container:
            same(container.exec(["cat", "/data/file"]).output, b"mounted")


def database():
    image = os.environ.get("CLIENTS_POSTGRES", "postgres:latest")
    with PostgresContainer(image, driver=None) as postgres:
        answer = postgres.exec(["psql", "-U", postgres.username, "-d", postgres.dbname, "-tAc", "select 6*7"])
        same(answer.output.strip(), b"42")
        holds(postgres.get_connection_url().startswith("postgresql://"), "no address")


for name, function in [("a container that says when it is ready", plain), ("a port", port), ("a network with an alias", network),
                       ("a bind", volumes), ("a database until it answers", database)]:
    steps.step(name, function)
steps.finish()
