#!/usr/bin/env bash
# OCI runtimes, both ways: Podman and containerd with Corten as their runtime, and runc and crun as runtimes of Corten's own daemon. Needs
# root and no engine: what it starts has folders of its own and ends with it. What is not installed is left out, in a line. Arguments
# choose parts: podman systemd rootless containerd corten (all).
#   CORTEN          the program (default: `corten` on PATH)
#   CLIENTS_IMAGES  the folder with busybox.tar
#   CLIENTS_OCI     another runtime in Corten's place under Podman and containerd, as a look at the script itself
#   CLIENTS_PATIENCE  seconds that one command may take (60)
#   CLIENTS_USER    who runs Podman without root: a user with a folder of their own and lines in /etc/subuid and /etc/subgid
cd "$(dirname "$0")" && . ./steps.sh
corten=$(readlink -f "$(command -v "${CORTEN:-corten}")") || { echo "oci.sh: no corten" >&2; exit 2; }
archive=${CLIENTS_IMAGES:?the folder with busybox.tar}/busybox.tar
folder=$(mktemp -d)
chmod 711 "$folder"
if [ -n "${CLIENTS_OCI:-}" ]; then ln -s "$CLIENTS_OCI" "$folder/corten-oci"; else ln -s "$corten" "$folder/corten-oci"; fi
export PODMAN_IGNORE_CGROUPSV1_WARNING=1
port=$((20000 + $$ % 20000))
parts=" ${*:-podman systemd rootless containerd corten} "
timed=(timeout --foreground -k 5 "${CLIENTS_PATIENCE:-60}") front=() started=()
clean() {
  for pid in "${started[@]}"; do kill "$pid" && wait "$pid"; done 2>/dev/null
  umount $(awk -v top="$folder/" 'index($2, top) == 1 { print $2 }' /proc/self/mounts | sort -r) 2>/dev/null
  rm -rf "$folder"
}
trap clean EXIT
before=0 before_passed=0
told() { # NAME: a line of counts for what was done since the last one
  printf '%-44s %s of %s\n' "$1" $((passed - before_passed)) $((made - before))
  before=$made before_passed=$passed
}
left_out() { printf '%-44s %s\n' "$1" "left out: $2"; }
in_terminal() { script -qec "$(printf '%q ' "$@")" /dev/null </dev/null | tr -d '\0\r' | sed 's/^^@//'; }

# Commands of Docker's form (Podman, corten), in the array `front`; `limits` says whether the one who asks may have any, `forbidden` is the
# code for a file that may not be executed.
life() {
  local F=("${front[@]}") limits=$1 forbidden=${2:-126}
  port=$((port + 1))
  same "run" hello "${F[@]}" run --rm busybox echo hello
  fails "run, exit code" 3 "" "${F[@]}" run --rm busybox sh -c 'exit 3'
  fails "run, no command" 127 "no-such-command" "${F[@]}" run --rm busybox no-such-command
  fails "run, no permission" "$forbidden" "" "${F[@]}" run --rm busybox /etc/passwd
  same "run, streams" out sh -c '"$@" 2>/dev/null' - "${F[@]}" run --rm busybox sh -c 'echo out; echo err >&2'
  same "run, input" "from here" sh -c 'echo from here | "$@"' - "${F[@]}" run -i --rm busybox cat
  same "run, terminal" /dev/pts/0 sh -c '"$@" | tr -d "\0\r"' - "${F[@]}" run -t --rm busybox tty
  same "run, size of a terminal" "24 80" in_terminal sh -c 'stty rows 24 cols 80; exec "$@"' - "${F[@]}" run -it --rm busybox \
    sh -c 'for i in 1 2 3 4 5 6 7 8 9; do [ "$(stty size)" != "24 80" ] || break; sleep 0.1; done; stty size'
  same "run, user, folder, name" "1000 /tmp box b" "${F[@]}" run --rm -u 1000 -w /tmp -h box -e A=b busybox sh -c 'echo $(id -u) $(pwd) $(hostname) $A'
  same "run, read-only" "ro" "${F[@]}" run --rm --read-only busybox sh -c 'touch /file 2>/dev/null || echo ro'
  same "run, volume and tmpfs" "tmpfs x" "${F[@]}" run --rm -v oci-volume:/v --tmpfs /t busybox sh -c 'echo x >/v/file; echo $(stat -f -c %T /t) $(cat /v/file)'
  same "run, capabilities" 0000000020000001 "${F[@]}" run --rm --cap-drop ALL --cap-add CHOWN --cap-add AUDIT_WRITE busybox \
    sh -c 'sed -n "s/^CapEff:\t//p" /proc/self/status'
  same "run, init" "4" sh -c '"$@"; echo $?' - "${F[@]}" run --rm --init busybox sh -c 'exit 4'
  step "run, detached" "${F[@]}" run -d --name oci-life -p "127.0.0.1:$port:80" $([ "$limits" = no ] || echo --memory 64m --pids-limit 50) busybox \
    sh -c 'trap "exit 5" TERM; echo page >/tmp/index.html; httpd -h /tmp -p 80; echo started; echo oops >&2; while :; do i=$((i + 1)); echo $i >/now; sleep 0.05; done'
  step "port answers" until_ok sh -c "curl -fsS http://127.0.0.1:$port/ | grep -qx page"
  same "logs" "started oops" sh -c '"$@" 2>&1 | sort -r | paste -sd " "' - "${F[@]}" logs oci-life
  same "exec" "x" "${F[@]}" exec -e X=x oci-life sh -c 'echo $X'
  fails "exec, code" 4 "" "${F[@]}" exec oci-life sh -c 'exit 4'
  fails "exec, no command" 127 "no-such-command" "${F[@]}" exec oci-life no-such-command
  same "exec, input" in sh -c 'echo in | "$@"' - "${F[@]}" exec -i oci-life cat
  same "exec, terminal" /dev/pts/0 sh -c '"$@" | tr -d "\0\r"' - "${F[@]}" exec -t oci-life tty
  if [ "$limits" != no ]; then
    same "memory" 67108864 "${F[@]}" exec oci-life sh -c 'cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null'
    same "processes" 50 "${F[@]}" exec oci-life sh -c 'cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null'
    step "update" "${F[@]}" update --memory 48m --memory-swap 96m oci-life
    same "memory, changed" 50331648 "${F[@]}" exec oci-life sh -c 'cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null'
    step "stats" "${F[@]}" stats --no-stream oci-life
    step "pause" "${F[@]}" pause oci-life
    same "paused" paused "${F[@]}" inspect -f '{{.State.Status}}' oci-life
    step "unpause" "${F[@]}" unpause oci-life
    same "goes on" on "${F[@]}" exec oci-life sh -c 'a=$(cat /now); sleep 0.5; [ "$a" = "$(cat /now)" ] || echo on'
    fails "more memory than it may" 137 "" "${F[@]}" run --rm --memory 32m --memory-swap 32m busybox tail /dev/zero
  fi
  step "top" "${F[@]}" top oci-life
  step "stop" "${F[@]}" stop -t 10 oci-life
  same "stopped, code" "exited 5" "${F[@]}" inspect -f '{{.State.Status}} {{.State.ExitCode}}' oci-life
  step "start" "${F[@]}" start oci-life
  step "port answers again" until_ok sh -c "curl -fsS http://127.0.0.1:$port/ | grep -qx page"
  step "restart" "${F[@]}" restart -t 10 oci-life
  step "kill" "${F[@]}" kill -s KILL oci-life
  same "wait" 137 "${F[@]}" wait oci-life
  fails "port is free" 7 "" curl -fsS "http://127.0.0.1:$port/"
  step "rm" "${F[@]}" rm oci-life
  step "create, start and attach" "${F[@]}" create --name oci-other busybox sh -c 'echo attached; exit 6'
  same "its output and code" "attached 6" sh -c 'out=$("$@"); code=$?; echo "$out $code"' - "${F[@]}" start -a oci-other
  step "rm, of another" "${F[@]}" rm oci-other
  step "rm -f, running" sh -c '"$@" run -d --name oci-other busybox sleep 1000 && "$@" rm -f -t 0 oci-other || "$@" rm -f oci-other' - "${F[@]}"
  step "volume rm" "${F[@]}" volume rm oci-volume
  same "nothing is left" "" "${F[@]}" ps -aq
}

podman_life() { # NAME LIMITS STATE WORDS…: Podman by these words, and the runtime's state in that folder
  local name=$1 limits=$2 state=$3
  shift 3
  front=("${timed[@]}" "$@")
  step "load" "${front[@]}" load -qi "$archive"
  life "$limits"
  same "no state of the runtime" "" sh -c 'ls -A "$1" 2>/dev/null' - "$state"
  told "$name"
}

# --- Podman
wanted() { [[ $parts == *" $1 "* ]]; }
has_podman() { # PART NAME
  wanted "$1" || return 1
  command -v podman >/dev/null && return 0
  left_out "$2" "not installed"
  return 1
}
words=(podman --root "$folder/podman" --runroot "$folder/podman-run" --storage-driver overlay --runtime "$folder/corten-oci")
if has_podman podman Podman; then
  podman_life Podman yes /run/corten-oci "${words[@]}" --cgroup-manager cgroupfs
fi
if has_podman systemd "Podman, cgroups by systemd"; then
  if [ -S /run/systemd/private ]; then
    podman_life "Podman, cgroups by systemd" yes /run/corten-oci "${words[@]}" --cgroup-manager systemd
  else
    left_out "Podman, cgroups by systemd" "no systemd here"
  fi
fi
if has_podman rootless "Podman without root"; then
  if [ -n "${CLIENTS_USER:-}" ]; then
    home=$folder/home id=$(id -u "$CLIENTS_USER")
    mkdir -p "$home/run"
    cp "$archive" "$home"
    chown -R "$CLIENTS_USER" "$home"
    chmod 700 "$home/run"
    archive=$home/busybox.tar podman_life "Podman without root" no "$home/run/corten-oci" \
      setpriv --reuid "$id" --regid "$(id -g "$CLIENTS_USER")" --clear-groups env -C "$home" HOME="$home" XDG_RUNTIME_DIR="$home/run" \
      podman --root "$home/podman" --runroot "$home/podman-run" --runtime "$folder/corten-oci" --cgroup-manager cgroupfs
  else
    left_out "Podman without root" "no CLIENTS_USER"
  fi
fi

# --- containerd
containerd_life() {
  local C=("${timed[@]}" ctr -a "$folder/containerd/sock") image=docker.io/library/busybox:latest
  local R=("${C[@]}" run --rm --runc-binary "$folder/corten-oci")
  mkdir -p "$folder/containerd"
  cat >"$folder/containerd/config.toml" <<END
version = 3
root = "$folder/containerd/root"
state = "$folder/containerd/state"
disabled_plugins = ["io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri", "io.containerd.nri.v1.nri"]
[grpc]
address = "$folder/containerd/sock"
[ttrpc]
address = "$folder/containerd/sock.ttrpc"
END
  containerd -c "$folder/containerd/config.toml" >"$folder/containerd/log" 2>&1 &
  started+=($!)
  step "it answers" until_ok "${C[@]}" version
  step "load" "${C[@]}" images import "$archive"
  same "run" hello "${R[@]}" $image one echo hello
  fails "run, exit code" 3 "" "${R[@]}" $image one sh -c 'exit 3'
  fails "run, no command" 1 "no-such-command" "${R[@]}" $image one no-such-command
  same "run, streams" out sh -c '"$@" 2>/dev/null' - "${R[@]}" $image one sh -c 'echo out; echo err >&2'
  same "run, input" "from here" sh -c 'echo from here | "$@"' - "${R[@]}" $image one head -n 1 # ctr does not close it
  same "run, terminal" /dev/pts/0 in_terminal "${R[@]}" -t $image one tty
  same "run, user and folder" "1000 /tmp" "${R[@]}" --user 1000 --cwd /tmp $image one sh -c 'echo $(id -u) $(pwd)'
  same "run, read-only" "ro" "${R[@]}" --read-only $image one sh -c 'touch /file 2>/dev/null || echo ro'
  same "run, bind" "x" "${R[@]}" --mount "type=bind,src=$folder/containerd,dst=/v,options=rbind:rw" $image one sh -c 'echo x >/v/file; cat /v/file'
  fails "more memory than it may" 137 "" "${R[@]}" --memory-limit 33554432 $image one tail /dev/zero
  # A second process's task is deleted with the first, and the port is the host's.
  step "run, detached" "${C[@]}" run -d --runc-binary "$folder/corten-oci" --memory-limit 67108864 --net-host --log-uri "file://$folder/containerd/out" \
    $image oci-life sh -c "trap 'exit 5' TERM; echo page >/tmp/index.html; httpd -h /tmp -p 127.0.0.1:$port; echo started; while :; do i=\$((i + 1)); echo \$i >/now; sleep 0.05; done"
  step "port answers" until_ok sh -c "curl -fsS http://127.0.0.1:$port/ | grep -qx page"
  same "logs" started cat "$folder/containerd/out"
  same "list" "oci-life RUNNING" sh -c '"$@" | awk "NR > 1 { print \$1, \$3 }"' - "${C[@]}" task ls
  same "exec" in "${C[@]}" task exec --exec-id e oci-life echo in
  fails "exec, code" 4 "" "${C[@]}" task exec --exec-id e oci-life sh -c 'exit 4'
  fails "exec, no command" 1 "no-such-command" "${C[@]}" task exec --exec-id e oci-life no-such-command
  same "exec, terminal" /dev/pts/0 in_terminal "${C[@]}" task exec -t --exec-id e oci-life sh -c 'sleep 0.5; tty'
  same "memory" 67108864 sh -c 'pid=$("$@" | awk "\$1 == \"oci-life\" { print \$2 }")
    cd /sys/fs/cgroup && cat "memory$(sed -n s/^[0-9]*:memory://p "/proc/$pid/cgroup")/memory.limit_in_bytes" ".$(sed -n s/^0:://p "/proc/$pid/cgroup")/memory.max" 2>/dev/null' - \
    "${C[@]}" task ls
  step "metrics" "${C[@]}" task metrics oci-life
  step "ps" "${C[@]}" task ps oci-life
  step "pause" "${C[@]}" task pause oci-life
  same "paused" "oci-life PAUSED" sh -c '"$@" | awk "NR > 1 { print \$1, \$3 }"' - "${C[@]}" task ls
  step "resume" "${C[@]}" task resume oci-life
  same "goes on" on "${C[@]}" task exec --exec-id e oci-life sh -c 'a=$(cat /now); sleep 0.5; [ "$a" = "$(cat /now)" ] || echo on'
  step "stop" "${C[@]}" task kill -s SIGTERM oci-life
  step "stopped" until_ok sh -c '"$@" | grep -q "oci-life.*STOPPED"' - "${C[@]}" task ls
  fails "rm of the task, with its code" 0 "exit code 5" "${C[@]}" task rm oci-life
  step "start" "${C[@]}" task start -d oci-life
  step "kill" "${C[@]}" task kill -s SIGKILL oci-life
  step "killed" until_ok sh -c '"$@" | grep -q "oci-life.*STOPPED"' - "${C[@]}" task ls
  fails "rm of the task, killed" 0 "exit code 137" "${C[@]}" task rm oci-life
  step "start, again" "${C[@]}" task start -d oci-life
  step "rm -f of a running task" sh -c '"$@" || [ $? = 137 ]' - "${C[@]}" task rm -f oci-life
  step "rm" "${C[@]}" container rm oci-life
  same "nothing is left" "" "${C[@]}" container ls -q
  same "no state of the runtime" "" sh -c 'ls -A /run/containerd/runc/default 2>/dev/null'
  told "containerd"
}
if wanted containerd; then
  if command -v containerd >/dev/null && command -v ctr >/dev/null; then containerd_life; else left_out containerd "not installed"; fi
fi

# --- other runtimes under Corten, by daemon.json
wanted corten || { finish; exit; }
others=()
for name in runc crun; do
  if program=$(command -v $name); then others+=("other-$name=$program"); else left_out "Corten with $name" "not installed"; fi
done
others+=("alone=$folder/corten-oci")
json=
for other in "${others[@]}"; do json+="${json:+, }\"${other%%=*}\": {\"path\": \"${other#*=}\"}"; done
echo "{\"runtimes\": {$json}}" >"$folder/daemon.json"
socket=$folder/exec/corten.sock
"$corten" daemon --config-file "$folder/daemon.json" --data-root "$folder/data" --exec-root "$folder/exec" --bridge "oci$$" >"$folder/daemon.log" 2>&1 &
started+=($!)
front=("${timed[@]}" "$corten" -H "unix://$socket")
step "it answers" until_ok "${front[@]}" version
step "load" "${front[@]}" load -qi "$archive"
told "Corten's daemon"
for other in own "${others[@]}"; do
  name=${other%%=*}
  if [ $name = own ]; then
    label="Corten with its own"
  else
    # `run` and `create` are told the runtime; the other commands know it from the container.
    label="Corten with ${name#other-}"
    cat >"$folder/with-$name" <<END
#!/bin/sh
command=\$1
shift
case \$command in
run | create) exec "$corten" -H "unix://$socket" "\$command" --runtime $name "\$@" ;;
*) exec "$corten" -H "unix://$socket" "\$command" "\$@" ;;
esac
END
    chmod +x "$folder/with-$name"
    front=("${timed[@]}" "$folder/with-$name")
  fi
  life yes $([ $name != other-crun ] || echo 125) # it does not say "permission denied", by which Docker knows it
  told "$label"
done
finish
