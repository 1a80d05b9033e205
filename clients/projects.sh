#!/usr/bin/env bash
# Whole projects, as their authors publish them: each folder of CLIENTS_PROJECTS is one, with what it needs in its `.env` (also COMPOSE_FILE,
# where it is of several files). Nothing is fetched or built: every service gets the image `busybox`, and is created, not started.
cd "$(dirname "$0")" && . ./steps.sh
: "${CLIENTS_PROJECTS:?a folder with a folder for each project}"
work=$(mktemp -d -p "${CLIENTS_FOLDER:-/tmp}")
trap 'for name in $made_projects; do compose "$name" down -v -t 0 >/dev/null 2>&1; done; drop_volumes; rm -rf "$work"' EXIT
made_projects='' volumes=''

compose() { # PROJECT WORD…: on what was made of its files
  local name=$1
  shift
  docker compose --ansi never --progress quiet -p "clients-$name" --project-directory "$work/$name" -f "$work/$name.json" "$@"
}
drop_volumes() {
  [ -z "$volumes" ] || docker volume rm $volumes >/dev/null 2>&1
}
count() { # WHAT PROJECT: how many of it there are with the project's label
  case $1 in
  containers) docker ps -aq --filter "label=com.docker.compose.project=clients-$2" ;;
  *) docker "${1%s}" ls -q --filter "label=com.docker.compose.project=clients-$2" ;;
  esac | wc -l
}
resolve() { # PROJECT: its files as one, every image another
  (cd "$work/$1" && env -i PATH="$PATH" HOME="$HOME" ${DOCKER_CONFIG:+DOCKER_CONFIG="$DOCKER_CONFIG"} docker compose -p "clients-$1" config --format json) >"$work/$1.full" &&
    python3 - "$work/$1" <<'P'
import json, sys
model = json.load(open(sys.argv[1] + ".full"))
for service in model["services"].values():
    service["image"] = "busybox"
    service.pop("build", None)
json.dump(model, open(sys.argv[1] + ".json", "w"))
kept = [volume["name"] for volume in (model.get("volumes") or {}).values() if volume.get("external")]
open(sys.argv[1] + ".external", "w").write("\n".join(kept))
print(len(model["services"]))
P
}

for folder in "$CLIENTS_PROJECTS"/*/; do
  name=$(basename "$folder")
  cp -r "$folder" "$work/$name"
  services=$(resolve "$name" 2>/dev/null)
  step "$name: config" test "${services:-0}" -gt 0
  [ "${services:-0}" -gt 0 ] || continue
  for volume in $(cat "$work/$name.external"); do
    docker volume inspect "$volume" >/dev/null 2>&1 && continue
    docker volume create "$volume" >/dev/null && volumes="$volumes $volume"
  done
  made_projects="$made_projects $name"
  step "$name: create" compose "$name" create --no-build --pull never
  same "$name: containers" "$services" count containers "$name"
  same "$name: state" created bash -c "docker ps -a --filter label=com.docker.compose.project=clients-$name --format '{{.State}}' | sort -u"
  # What was made once is not made again: the hashes of the configuration are as the plugin expects them.
  before=$(docker ps -aq --no-trunc --filter "label=com.docker.compose.project=clients-$name" | sort)
  step "$name: create again" compose "$name" create --no-build --pull never
  same "$name: the same containers" "$before" bash -c "docker ps -aq --no-trunc --filter label=com.docker.compose.project=clients-$name | sort"
  step "$name: down" compose "$name" down -v -t 0
  for what in containers networks volumes; do same "$name: $what are gone" 0 count $what "$name"; done
done
finish
