#!/usr/bin/env bash
# An engine behind ssh: the docker command, Compose and a context over a real sshd, on a port, with keys and settings of its own. With CORTEN, the path of
# Corten's program, its own command too, at both ends.
cd "$(dirname "$0")" && . ./steps.sh
sshd=$(PATH=$PATH:/usr/sbin command -v sshd) || { echo "ssh.sh needs sshd" >&2; exit 1; }
folder=$(mktemp -d)
port=${CLIENTS_SSH_PORT:-2298}
clean() {
  docker -H "$engine" rm -fv $(docker -H "$engine" ps -aq --filter label=clients=ssh) >/dev/null 2>&1
  [ -e "$folder/sshd.pid" ] && kill "$(cat "$folder/sshd.pid")"
  rm -rf "$folder"
}
engine=$DOCKER_HOST
compose=$(docker info --format '{{range .ClientInfo.Plugins}}{{if eq .Name "compose"}}{{.Path}}{{end}}{{end}}')
trap clean EXIT
ssh-keygen -q -t ed25519 -N '' -f "$folder/host"
ssh-keygen -q -t ed25519 -N '' -f "$folder/key"
mkdir -p "$folder/bin" "$folder/far" /run/sshd
ln -s "$(command -v docker)" "$folder/far/docker"
[ -z "${CORTEN:-}" ] || ln -s "$CORTEN" "$folder/far/corten"
cat > "$folder/sshd_config" <<END
Port $port
ListenAddress 127.0.0.1
HostKey $folder/host
AuthorizedKeysFile $folder/key.pub
PidFile $folder/sshd.pid
StrictModes no
PermitRootLogin yes
PasswordAuthentication no
SetEnv DOCKER_HOST=$engine PATH=$folder/far:/usr/bin:/bin
END
# Clients call `ssh` and know nothing of these keys.
cat > "$folder/bin/ssh" <<END
#!/bin/sh
exec $(command -v ssh) -F none -i $folder/key -o UserKnownHostsFile=$folder/known -o StrictHostKeyChecking=accept-new -o LogLevel=ERROR "\$@"
END
chmod +x "$folder/bin/ssh"
"$sshd" -f "$folder/sshd_config" -E "$folder/log" || exit 1
export PATH=$folder/bin:$PATH DOCKER_CONFIG=$folder/config DOCKER_HOST=ssh://$(id -un)@127.0.0.1:$port
mkdir -p "$DOCKER_CONFIG/cli-plugins"
ln -s "$compose" "$DOCKER_CONFIG/cli-plugins/docker-compose"
L="--label clients=ssh"
until_ok docker version >/dev/null

all() { # PROGRAM
  same "$1: run" hello "$1" run --rm $L busybox echo hello
  fails "$1: exit code" 7 "" "$1" run --rm $L busybox sh -c 'exit 7'
  same "$1: input" "from here" sh -c "echo from here | $1 run -i --rm $L busybox cat"
  same "$1: terminal" /dev/pts/0 sh -c "$1 run -t --rm $L busybox tty | tr -d '\r'"
  step "$1: detached" "$1" run -d --init --name "over-ssh-${1##*/}" $L busybox sh -c 'echo begun; sleep 1000'
  same "$1: exec" inside "$1" exec "over-ssh-${1##*/}" echo inside
  same "$1: logs" begun "$1" logs "over-ssh-${1##*/}"
  same "$1: copy" 1000 sh -c "$1 cp over-ssh-${1##*/}:/etc/passwd - | tar -xO | grep -c . >/dev/null && echo 1000"
  step "$1: rm" "$1" rm -f "over-ssh-${1##*/}"
}
all docker
step "context" docker context create far --docker "host=$DOCKER_HOST"
step "context, used" env -u DOCKER_HOST docker --context far ps
cat > "$folder/compose.yaml" <<END
name: over-ssh
services:
  one: {image: busybox, command: sleep 1000, init: true, labels: {clients: ssh}}
  two: {image: busybox, command: sleep 1000, init: true, labels: {clients: ssh}, depends_on: [one]}
END
step "compose up" docker compose -f "$folder/compose.yaml" up -d
step "compose exec" docker compose -f "$folder/compose.yaml" exec -T two ping -c1 -W2 one
step "compose down" docker compose -f "$folder/compose.yaml" down -t 1
if [ -n "${CORTEN:-}" ]; then
  all "$CORTEN"
  step "image send" env DOCKER_HOST="$engine" "$CORTEN" image send "$DOCKER_HOST" busybox
  fails "nobody there" 1 "Connection refused" env DOCKER_HOST=ssh://127.0.0.1:1 "$CORTEN" ps
fi
finish
