"""docker-py with a registry that asks for passwords, as one part of `registry.sh`: REGISTRY, and the DIGEST of clients/made:1 there."""

import os

import docker
from docker import errors

from steps import Steps, fails, holds, same

registry, digest = os.environ["REGISTRY"], os.environ["DIGEST"]
login = {"username": "somebody", "password": "secret"}
made, own = f"{registry}/clients/made", f"{registry}/clients/python"
client = docker.from_env()
steps = Steps()
step = steps.step


def remove(name):
    try:
        client.images.remove(name, force=True)
    except errors.ImageNotFound:
        pass


def pushed(**options):
    """The last line of a push that tells a digest."""
    told = list(client.images.push(own, tag="1", stream=True, decode=True, **options))
    wrong = [line["error"] for line in told if "error" in line]
    holds(not wrong, f"{wrong}")
    return [line["aux"]["Digest"] for line in told if "Digest" in line.get("aux", {})][-1]


remove(f"{made}:1")
wrong = {**login, "password": "wrong"}
step("login, wrong", lambda: fails(errors.APIError, lambda: client.login(registry=registry, reauth=True, **wrong)))
step("login", lambda: same(client.login(registry=registry, reauth=True, **login)["Status"], "Login Succeeded"))
step("pull", lambda: holds(f"{made}@{digest}" in client.images.pull(made, tag="1").attrs["RepoDigests"], "its digest"))
remove(f"{made}:1")
step("pull, its own login", lambda: client.images.pull(made, tag="1", auth_config=login))
step("what the registry has", lambda: same(client.images.get_registry_data(f"{made}:1").id, digest))
step("run", lambda: same(client.containers.run(f"{made}:1", "ls /made", remove=True), b"/made\n"))
step("tag", lambda: holds(client.images.get(f"{made}:1").tag(own, tag="1"), "tagged"))
step("push", lambda: same(pushed(), client.images.get_registry_data(f"{own}:1").id))
step("push, its own login", lambda: pushed(auth_config=login))
step("push, a wrong one", lambda: fails(AssertionError, lambda: pushed(auth_config=wrong)))
remove(f"{own}:1")
step("not there", lambda: fails(errors.NotFound, lambda: client.images.pull(own, tag="none")))
steps.finish()
