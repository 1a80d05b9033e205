#!/usr/bin/env bash
# The devcontainers command with an image: up, exec, up again, and what editors read. DEVCONTAINER is the program.
cd "$(dirname "$0")" && . ./steps.sh
folder=$(mktemp -d -p "${CLIENTS_FOLDER:-/tmp}")
label=devcontainer.local_folder=$folder
trap 'docker rm -fv $(docker ps -aq --filter "label=$label") >/dev/null 2>&1; docker volume rm clients-dev >/dev/null 2>&1; rm -rf "$folder"' EXIT
mkdir "$folder/.devcontainer"
cat >"$folder/.devcontainer/devcontainer.json" <<'J'
{
  "name": "clients",
  "image": "debian",
  "containerEnv": {"A": "b"},
  "remoteEnv": {"C": "d"},
  "postCreateCommand": "echo made > /tmp/made",
  "mounts": ["source=clients-dev,target=/v,type=volume"],
  "runArgs": ["--hostname", "dev", "--cap-add", "SYS_PTRACE"],
  "forwardPorts": [8080],
  "overrideCommand": true
}
J
D="${DEVCONTAINER:-devcontainer}"
step "read the configuration" $D read-configuration --workspace-folder "$folder"
step up $D up --workspace-folder "$folder" --skip-post-attach
same exec "b d dev made" $D exec --workspace-folder "$folder" sh -c 'echo $A $C $(hostname) $(cat /tmp/made)'
same "the folder is there" devcontainer.json $D exec --workspace-folder "$folder" sh -c 'ls .devcontainer'
fails "exit code" 5 "" $D exec --workspace-folder "$folder" sh -c 'exit 5'
before=$(docker ps -q --filter "label=$label")
step "up again" $D up --workspace-folder "$folder" --skip-post-attach
same "the same container" "$before" docker ps -q --filter "label=$label"
step stopped docker stop -t 0 "$before"
step "up after a stop" $D up --workspace-folder "$folder" --skip-post-attach
same "still what was made" made $D exec --workspace-folder "$folder" cat /tmp/made
finish
