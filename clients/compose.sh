#!/usr/bin/env bash
# The Compose plugin: a project's life from `config` to `down`, one command after the other.
cd "$(dirname "$0")" && . ./steps.sh
folder=$(mktemp -d -p "${CLIENTS_FOLDER:-/tmp}")
C="docker compose --ansi never --progress quiet -p clientscompose --project-directory $folder -f $folder/compose.yaml"
trap '$C down -v -t 0 >/dev/null 2>&1; rm -rf "$folder"' EXIT
cat >"$folder/compose.yaml" <<'Y'
services:
  server:
    image: busybox
    command: sh -c 'cp /content /tmp/index.html; exec httpd -f -h /tmp -p 80'
    ports: ["127.0.0.1::80"]
    environment: {A: "${WORD:-plain}"}
    configs: [{source: content, target: /content}]
    secrets: [word]
    volumes: [data:/data, ./shared:/shared:ro]
    healthcheck: {test: ["CMD", "wget", "-qO-", "http://127.0.0.1/"], interval: 0.2s, retries: 50}
    networks: {front: {aliases: [web]}, back: {}}
    stop_grace_period: 0s
  client:
    image: busybox
    command: sh -c 'wget -qO- http://web/ && sleep 1000'
    depends_on: {server: {condition: service_healthy}, once: {condition: service_completed_successfully}}
    networks: [front]
    stop_grace_period: 0s
  once:
    image: busybox
    command: sh -c 'echo initialised > /data/once'
    volumes: [data:/data]
  extra:
    image: busybox
    command: sleep 1000
    profiles: [more]
    stop_grace_period: 0s
configs: {content: {content: "page\n"}}
secrets: {word: {file: ./word}}
volumes: {data: {}}
networks: {front: {}, back: {internal: true}}
Y
mkdir "$folder/shared"
echo hidden >"$folder/word"
echo shared >"$folder/shared/file"

step version docker compose version
step config $C config --quiet
same "config, services" "client extra once server" sh -c "$C --profile more config --services | sort | xargs"
step "up" $C up -d
same "ps" "client server" sh -c "$C ps --format '{{.Service}}' | sort | xargs"
same "ps, all" "exited" $C ps -a --format '{{.State}}' once
step "answers" until_ok sh -c "curl -fsS http://\$($C port server 80)/ | grep -qx page"
same "exec" "plain hidden shared initialised" sh -c "echo \$($C exec -T server sh -c 'echo \$A; cat /run/secrets/word /shared/file /data/once')"
step "logs" sh -c "$C logs --no-log-prefix client | grep -qx page"
step "top" $C top
step "images" $C images
step "stats" $C stats --no-stream
step "ls" sh -c "docker compose ls -q | grep -qx clientscompose"
step "nothing to do" $C up -d
WORD=other step "a change recreates" env WORD=other $C up -d
same "the change" other $C exec -T server sh -c 'echo $A'
step "scale" env WORD=other $C up -d --scale client=3
same "three" 3 sh -c "$C ps -q client | wc -l"
step "restart" $C restart -t 0 server
step "pause" $C pause client
step "unpause" $C unpause client
step "cp" $C cp "$folder/word" server:/tmp/copied
same "run" "once more" $C run --rm -T --no-deps client echo once more
step "a profile" env WORD=other $C --profile more up -d
step "kill" $C --profile more kill extra
step "stop" $C stop -t 0
step "start" env WORD=other $C start
step "wait until healthy" env WORD=other $C up -d --wait
# The plugin itself ends with "EOF" when the events have come to their end.
step "events" sh -c "timeout 10 $C events --json --since 1m --until 0s 2>/dev/null | grep -q '\"action\":\"die\"'"
step "create" env WORD=other $C create
step "rm" $C rm -fsv client
fails "a mistake in the file" 1 "additional properties 'imagee' not allowed" sh -c "printf 'services: {a: {imagee: x}}' | docker compose -f - config"
step "down" $C --profile more down -v -t 0
same "nothing is left" "" sh -c "docker ps -aq --filter label=com.docker.compose.project=clientscompose; docker network ls -q --filter label=com.docker.compose.project=clientscompose; docker volume ls -q --filter label=com.docker.compose.project=clientscompose"
finish
