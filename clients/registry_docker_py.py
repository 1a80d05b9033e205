"""docker-py against a registry with TLS and passwords: `registry.sh` runs this, says where it is, and what the image there has for a digest."""

import os

import docker
from docker import errors

from steps import Steps, fails, holds, same

client = docker.from_env()
steps = Steps()
step = steps.step
registry, digest = os.environ["REGISTRY"], os.environ["DIGEST"]
made, pushed = f"{registry}/clients/made", f"{registry}/clients/docker-py"
somebody = {"username": "somebody", "password": "secret"}
nobody = {"username": "somebody", "password": "wrong"}


def forget():
    """The image is not on the engine any more."""
    for name in (f"{made}:1", f"{pushed}:1", f"{made}@{digest}"):
        try:
            client.images.remove(name, force=True)
        except errors.ImageNotFound:
            pass


def push(repository, tag):
    """Pushes; gives what the registry has it as."""
    said = list(client.images.push(repository, tag=tag, stream=True, decode=True, auth_config=somebody))
    holds(not [one for one in said if "error" in one], f"the push says {said}")
    return next(one["aux"]["Digest"] for one in said if "aux" in one)


def push_as_nobody():
    said = list(client.images.push(pushed, tag="1", stream=True, decode=True, auth_config=nobody))
    return [one["error"] for one in said if "error" in one]


def run():
    client.images.pull(pushed, "1", auth_config=somebody)
    return client.containers.run(f"{pushed}:1", "ls /made", remove=True)


forget()
step("login, wrong password", lambda: fails(errors.APIError, lambda: client.login(registry=registry, reauth=True, **nobody)))
step("login", lambda: same(client.login(registry=registry, reauth=True, **somebody)["Status"], "Login Succeeded"))
step("pull, wrong password", lambda: fails(errors.APIError, lambda: client.images.pull(made, "1", auth_config=nobody)))
step("pull", lambda: holds(f"{made}@{digest}" in client.images.pull(made, "1", auth_config=somebody).attrs["RepoDigests"], "another digest"))
step("pull by digest", lambda: client.images.pull(f"{made}@{digest}", auth_config=somebody))
step("data", lambda: same(client.images.get_registry_data(f"{made}:1", auth_config=somebody).id, digest))
step("platforms", lambda: holds(client.images.get_registry_data(f"{made}:1", auth_config=somebody).has_platform("linux/amd64"), "not for it"))
step("data of what is not there", lambda: fails(errors.APIError, lambda: client.images.get_registry_data(f"{made}:none", auth_config=somebody)))
step("tag", lambda: holds(client.images.get(f"{made}:1").tag(pushed, "1"), "no tag"))
step("push", lambda: holds(push(pushed, "1").startswith("sha256:"), "no digest"))
step("push, wrong password", lambda: holds(push_as_nobody(), "it succeeded"))
step("pushed twice", lambda: same(push(pushed, "1"), client.images.get_registry_data(f"{pushed}:1", auth_config=somebody).id))
forget()
step("run of what was pushed", lambda: same(run(), b"/made\n"))
forget()
steps.finish()
