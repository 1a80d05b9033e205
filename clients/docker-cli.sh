#!/usr/bin/env bash
# The docker command: what people and scripts type, and the calls that editors make of it.
cd "$(dirname "$0")" && . ./steps.sh
folder=$(mktemp -d -p "${CLIENTS_FOLDER:-/tmp}")
clean() {
  docker rm -fv $(docker ps -aq --filter label=clients=cli) >/dev/null 2>&1
  docker network rm cli-net >/dev/null 2>&1
  docker volume rm cli-volume >/dev/null 2>&1
  docker rmi -f cli:1 cli:2 cli:imported >/dev/null 2>&1
}
clean
trap 'clean; rm -rf "$folder"' EXIT
L="--label clients=cli"

step version docker version --format '{{.Server.Version}}'
step info docker info --format '{{.ServerVersion}} {{.Driver}} {{json .Plugins}}'
same "run" hello docker run --rm $L busybox echo hello
fails "run, exit code" 3 "" docker run --rm $L busybox sh -c 'exit 3'
fails "run, no command" 127 "executable file not found" docker run --rm $L busybox no-such-command
fails "run, no permission" 126 "permission denied" docker run --rm $L busybox /etc/passwd
fails "run, bad flag" 125 "unknown flag: --no-such-flag" docker run --no-such-flag busybox true
fails "no container" 1 "No such container: no-such" docker start no-such
fails "no object" 1 "No such object: no-such" docker inspect no-such
same "run, input" "from here" sh -c "echo from here | docker run -i --rm $L busybox cat"
same "run, terminal" "/dev/pts/0" sh -c "docker run -t --rm $L busybox tty | tr -d '\r'"
same "run, options" "b 1000 x /tmp 77" docker run --rm $L -e A=b -u 1000 -h x -w /tmp --ulimit nofile=77 busybox sh -c 'echo $A $(id -u) $(hostname) $(pwd) $(ulimit -n)'
same "run, streams" "out" sh -c "docker run --rm $L busybox sh -c 'echo out; echo err >&2' 2>/dev/null"
step "run, detached" docker run -d --name cli-life $L --init --restart on-failure:2 --health-cmd true --health-interval 0.2s -p 127.0.0.1::80 -v cli-volume:/v busybox \
  sh -c 'trap "exit 0" TERM; echo page > /tmp/index.html; httpd -h /tmp -p 80; echo started; while :; do sleep 0.1; done'
step "until healthy" until_ok sh -c "docker inspect -f '{{.State.Health.Status}}' cli-life | grep -qx healthy"
same "ps" cli-life docker ps --filter label=clients=cli --format '{{.Names}}'
step "ps, as editors ask" docker container list --all --no-trunc --format '{{json .}}'
same "inspect" "true on-failure" docker inspect -f '{{.State.Running}} {{.HostConfig.RestartPolicy.Name}}' cli-life
step "inspect, as editors ask" docker container inspect --format '{{json .}}' cli-life
same "logs" started docker logs cli-life
same "logs, tail" started docker logs --tail 1 --since 10m cli-life
step "port answers" until_ok sh -c 'curl -fsS "http://$(docker port cli-life 80/tcp)/" | grep -qx page'
same "exec" "x" docker exec -e X=x cli-life sh -c 'echo $X'
fails "exec, code" 4 "" docker exec cli-life sh -c 'exit 4'
step "top" docker top cli-life -o pid,comm
step "stats" docker stats --no-stream --format '{{json .}}' cli-life
step "pause" docker pause cli-life
same "paused" paused docker inspect -f '{{.State.Status}}' cli-life
step "unpause" docker unpause cli-life
step "update" docker update --memory 64m --memory-swap 128m cli-life
echo content >"$folder/file"
step "cp in" docker cp -q "$folder/file" cli-life:/tmp/copied
same "cp out" content sh -c "docker cp cli-life:/tmp/copied - | tar -xO"
fails "cp, nothing there" 1 "Could not find the file /no/such in container cli-life" docker cp cli-life:/no/such "$folder"
same "diff" "A /tmp/copied" sh -c "docker diff cli-life | grep copied"
step "commit" docker commit -m m -c 'ENV X=y' cli-life cli:1
same "commit's change" y docker run --rm $L cli:1 sh -c 'echo $X'
step "export and import" sh -c "docker export cli-life | docker import -c 'CMD [\"true\"]' - cli:imported"
step "rename" docker rename cli-life cli-other
step "stop" docker stop -t 5 cli-other
same "exit code" 0 docker inspect -f '{{.State.ExitCode}}' cli-other
step "start" docker start cli-other
step "restart" docker restart -t 1 cli-other
step "kill" docker kill -s KILL cli-other
same "wait" 137 docker wait cli-other
step "rm" docker rm -v cli-other

same "bind" content docker run --rm $L -v "$folder:/b:ro" busybox cat /b/file
same "mount" content docker run --rm $L --mount "type=bind,src=$folder,dst=/b,readonly" busybox cat /b/file
fails "bind that is not there" 125 "bind source path does not exist" docker run --rm $L --mount type=bind,src=/no/such,dst=/b busybox true
same "tmpfs" tmpfs sh -c "docker run --rm $L --tmpfs /t:size=1m busybox grep ' /t ' /proc/mounts | cut -d' ' -f3"
same "volume" cli-volume docker volume create $L cli-volume
step "volume, written" docker run --rm $L -v cli-volume:/v busybox sh -c 'echo kept > /v/file'
same "volume, kept" kept docker run --rm $L -v cli-volume:/v busybox cat /v/file
step "volume, as editors ask" docker volume ls --format '{{json .}}'
step "volume, inspected" docker volume inspect cli-volume
step "volume, removed" docker volume rm cli-volume
step "network" docker network create $L --subnet 10.213.9.0/24 cli-net
step "server" docker run -d --name cli-server $L --network cli-net --network-alias other busybox sh -c 'echo net > /tmp/index.html; exec httpd -f -h /tmp -p 80'
step "by name" until_ok docker run --rm $L --network cli-net busybox wget -qO- http://other/
step "connect" docker network connect --ip 10.213.9.77 cli-net $(docker run -d --name cli-peer $L busybox sleep 100)
same "its address" 10.213.9.77 docker inspect -f '{{(index .NetworkSettings.Networks "cli-net").IPAddress}}' cli-peer
step "disconnect" docker network disconnect -f cli-net cli-peer
fails "network in use" 1 "has active endpoints" docker network rm cli-net
step "remove both" docker rm -f cli-server cli-peer
step "network, as editors ask" docker network ls --no-trunc --format '{{json .}}'
step "network, removed" docker network rm cli-net

step "images" docker images --format '{{json .}}' --no-trunc --digests
step "tag" docker tag busybox:latest cli:2
step "history" docker history --no-trunc --format '{{json .}}' cli:2
step "save" docker save -o "$folder/saved.tar" cli:2
same "load" "Loaded image: cli:2" docker load -q -i "$folder/saved.tar"
same "rmi" "Untagged: cli:2" docker rmi cli:2
step "image, inspected" docker image inspect --format '{{json .}}' busybox
events() { docker events --since 1m --until 0s --filter container=cli-event --filter type=container --format '{{.Action}}' | grep -E '^(create|start|die|destroy)$' | xargs; }
docker run --name cli-event --rm $L busybox true
sleep 1
same "events" "create start die destroy" events
step "df" docker system df -v --format json
step "context" docker context ls --format json
step "prune" docker container prune -f --filter label=clients=cli
step "image prune" docker image prune -f --filter label=clients=cli
fails "no swarm" 1 "This node is not a swarm manager" docker service ls
finish
