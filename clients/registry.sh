#!/usr/bin/env bash
# A registry with TLS and passwords: login, push, pull, Compose, docker-py, Corten's own command, and what other programs (skopeo,
# Podman, a second engine) push and pull there; digests are the same everywhere.
#   CLIENTS_REGISTRY  the registry's program (default: docker-registry)
#   CLIENTS_CERTS     folders for a registry's authorities, below which the engine looks (default: /etc/docker/certs.d)
#   CLIENTS_PYTHON    a Python that has docker-py; without it those steps are left out
#   CORTEN    Corten's program, as a client of the engine; as above
#   CLIENTS_PODMAN    Podman's command, which sees CLIENTS_FOLDER; as above
#   CLIENTS_OTHER     a second engine's DOCKER_HOST; as above
# The registry listens on the address of the engine's default bridge: addresses of loopback need no certificate that is believed.
# So this script runs in the engine's network namespace.
cd "$(dirname "$0")" && . ./steps.sh
folder=$(mktemp -d -p "${CLIENTS_FOLDER:-/tmp}")
port=$((20000 + RANDOM % 10000))
address=$(docker network inspect bridge -f '{{(index .IPAM.Config 0).Gateway}}')
R=$address:$port
read -ra certs <<<"${CLIENTS_CERTS:-/etc/docker/certs.d}"
other() { docker -H "$CLIENTS_OTHER" "$@"; }
clean() {
  docker rm -f clientsregistry >/dev/null 2>&1
  for engine in "$DOCKER_HOST" ${CLIENTS_OTHER:+"$CLIENTS_OTHER"}; do
    # By its names: what else the image is called stays.
    docker -H "$engine" image ls --digests --filter "reference=$R/*/*" --format '{{.Repository}}{{if ne .Tag "<none>"}}:{{.Tag}}{{else}}@{{.Digest}}{{end}}' |
      sort -u | xargs -r docker -H "$engine" rmi >/dev/null 2>&1
  done
  [ -z "${CLIENTS_PODMAN:-}" ] || $CLIENTS_PODMAN rmi -f "$R/clients/app:1" "$R/clients/podman:1" >/dev/null 2>&1
  [ -z "${server:-}" ] || { kill "$server"; wait "$server"; } 2>/dev/null
  for certs in "${certs[@]}"; do rm -rf "${certs:?}/$R"; rmdir "$certs" 2>/dev/null; done
  rm -rf "$folder"
}
trap clean EXIT

# What the client knows already (where its plugins are) is kept; logins are of this run.
[ ! -e "${DOCKER_CONFIG:-$HOME/.docker}/config.json" ] || cp "${DOCKER_CONFIG:-$HOME/.docker}/config.json" "$folder/"
export DOCKER_CONFIG=$folder

(
  cd "$folder" || exit
  openssl req -x509 -newkey rsa:2048 -nodes -days 2 -keyout ca.key -out ca.crt -subj "/CN=clients" 2>/dev/null
  openssl req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj "/CN=$address" 2>/dev/null
  printf 'subjectAltName=IP:%s\n' "$address" >server.ext
  openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile server.ext -out server.crt 2>/dev/null
  mkdir trust && cp ca.crt trust/
  # The password is `secret`.
  # shellcheck disable=SC2016
  echo 'somebody:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a' >passwords
  cat >config.yml <<Y
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $folder/data}, delete: {enabled: true}}
http: {addr: $R, tls: {certificate: $folder/server.crt, key: $folder/server.key}}
auth: {htpasswd: {realm: clients, path: $folder/passwords}}
Y
)
"${CLIENTS_REGISTRY:-docker-registry}" serve "$folder/config.yml" >"$folder/log" 2>&1 &
server=$!
curl() { command curl -fsS --cacert "$folder/ca.crt" -u somebody:secret "$@"; }
skopeo() { command skopeo --insecure-policy "$@"; }
until_ok curl "https://$R/v2/" || exit 1
# As the registry has it.
there() { curl -o /dev/null -D - -H 'Accept: application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.index.v1+json' "https://$R/v2/$1/manifests/$2" | tr -d '\r' | sed -n 's/^[Dd]ocker-[Cc]ontent-[Dd]igest: //p'; }
# As an engine has it.
here() { docker image inspect -f '{{join .RepoDigests "\n"}}' "$1" | sed -n "s|^${1%:*}@||p"; }

# Trust.
fails "pull, authority unknown" 1 "certificate" docker pull "$R/clients/app:1"
for place in "${certs[@]}"; do mkdir -p "$place/$R" && cp "$folder/ca.crt" "$place/$R/ca.crt"; done
# Login.
fails "pull, nobody" 1 "no basic auth credentials" docker pull "$R/clients/app:1"
docker tag busybox "$R/clients/app:1"
fails "push, nobody" 1 "no basic auth credentials" docker push "$R/clients/app:1"
fails "login, wrong password" 1 "401 Unauthorized" sh -c "echo wrong | docker login -u somebody --password-stdin $R"
same "login" "Login Succeeded" sh -c "echo secret | docker login -u somebody --password-stdin $R 2>/dev/null"
same "what is kept" "c29tZWJvZHk6c2VjcmV0" python3 -c "import json; print(json.load(open('$folder/config.json'))['auths']['$R']['auth'])"

# Push and pull.
fails "pull, not there" 1 "not found" docker pull "$R/clients/none:1"
step "push" docker push "$R/clients/app:1"
digest=$(there clients/app 1)
step "digest in push's output" grep -q "1: digest: $digest size: " <<<"$output"
same "push, quiet" "$R/clients/app:1" docker push -q "$R/clients/app:1"
step "layers are there" sh -c "docker push $R/clients/app:1 | grep -q 'Layer already exists'"
docker tag busybox "$R/clients/app:2"
step "push, all tags" docker push -a "$R/clients/app"
same "one image, two tags" "$digest" there clients/app 2
docker tag busybox "$R/clients/second:1"
step "mounted from the first" sh -c "docker push $R/clients/second:1 | grep -Eq 'Mounted from clients/app|Layer already exists'"
same "the same in the second" "$digest" there clients/second 1
docker rmi "$R/clients/app:1" "$R/clients/app:2" "$R/clients/second:1" >/dev/null
step "pull" docker pull "$R/clients/app:1"
step "digest in pull's output" grep -q "Digest: $digest" <<<"$output"
same "its digest" "$digest" here "$R/clients/app:1"
same "pull, quiet" "$R/clients/app:1" docker pull -q "$R/clients/app:1"
step "up to date" sh -c "docker pull $R/clients/app:1 | grep -q 'Status: Image is up to date'"
step "pull, all tags" docker pull -a "$R/clients/app"
docker rmi "$R/clients/app:1" "$R/clients/app:2" >/dev/null
step "pull by digest" docker pull "$R/clients/app@$digest"
docker rmi "$R/clients/app@$digest" >/dev/null
same "run pulls" "hello" sh -c "docker run --rm $R/clients/app:1 echo hello 2>/dev/null"
step "commit" sh -c "docker run --name clientsregistry $R/clients/app:1 touch /made && docker commit clientsregistry $R/clients/made:1"
docker rm -f clientsregistry >/dev/null
step "push what was committed" docker push "$R/clients/made:1"
made_digest=$(there clients/made 1)
docker rmi "$R/clients/made:1" >/dev/null
same "and back" "/made" sh -c "docker run --rm $R/clients/made:1 ls /made 2>/dev/null"
same "its digest too" "$made_digest" here "$R/clients/made:1"

# Compose.
cat >"$folder/compose.yaml" <<Y
services:
  app:
    image: $R/clients/made:1
    command: sleep 1000
    stop_grace_period: 0s
    labels: {where: registry}
Y
C="docker compose --ansi never --progress quiet -p clientsregistry -f $folder/compose.yaml"
docker rmi -f "$R/clients/made:1" >/dev/null
step "compose pull" $C pull
docker rmi -f "$R/clients/made:1" >/dev/null
step "compose up" $C up -d
same "compose ps" app $C ps --services
step "compose down" $C down -t 0
step "compose push" $C push
same "the same after it" "$made_digest" there clients/made 1

# Others' images.
S="--src-creds somebody:secret --src-cert-dir $folder/trust"
T="--dest-creds somebody:secret --dest-cert-dir $folder/trust"
step "skopeo takes it" skopeo copy -q $S "docker://$R/clients/made:1" "dir:$folder/made"
same "byte for byte" "$made_digest" sh -c "printf sha256:; sha256sum <'$folder/made/manifest.json' | cut -d ' ' -f 1"
for format in oci v2s2; do
  step "skopeo brings it, $format" skopeo copy -q $T -f $format "dir:$folder/made" "docker://$R/clients/skopeo:$format"
  step "pull of $format" docker pull -q "$R/clients/skopeo:$format"
  same "digest of $format" "$(there clients/skopeo $format)" here "$R/clients/skopeo:$format"
done
step "skopeo brings zstd" skopeo copy -q $T -f oci --dest-compress-format zstd --dest-force-compress-format "dir:$folder/made" "docker://$R/clients/skopeo:zstd"
same "run of zstd" "/made" sh -c "docker run --rm $R/clients/skopeo:zstd ls /made 2>/dev/null"
if [ -n "${CLIENTS_PODMAN:-}" ]; then
  P="--creds somebody:secret --cert-dir $folder/trust"
  step "podman pulls" $CLIENTS_PODMAN pull -q $P "$R/clients/made:1"
  same "podman's digest" "$made_digest" $CLIENTS_PODMAN image inspect -f '{{.Digest}}' "$R/clients/made:1"
  same "podman runs" "/made" $CLIENTS_PODMAN run --rm --network none --cgroups disabled "$R/clients/made:1" ls /made
  step "podman pushes" $CLIENTS_PODMAN push -q $P "$R/clients/made:1" "$R/clients/podman:1"
  $CLIENTS_PODMAN rmi -f "$R/clients/made:1" >/dev/null 2>&1
  same "run of podman's" "/made" sh -c "docker run --rm $R/clients/podman:1 ls /made 2>/dev/null"
  same "digest of podman's" "$(there clients/podman 1)" here "$R/clients/podman:1"
fi
if [ -n "${CLIENTS_OTHER:-}" ]; then
  step "the other engine pulls" other pull -q "$R/clients/made:1"
  step "with the same digest" sh -c "docker -H $CLIENTS_OTHER image inspect -f '{{.RepoDigests}}' $R/clients/made:1 | grep -q $made_digest"
  same "and runs it" "/made" other run --rm "$R/clients/made:1" ls /made
  other tag "$R/clients/made:1" "$R/clients/other:1"
  step "the other engine pushes" other push -q "$R/clients/other:1"
  same "run of the other's" "/made" sh -c "docker run --rm $R/clients/other:1 ls /made 2>/dev/null"
  same "digest of the other's" "$(there clients/other 1)" here "$R/clients/other:1"
fi

# docker-py.
if [ -n "${CLIENTS_PYTHON:-}" ]; then
  output=$(REGISTRY=$R DIGEST=$made_digest "$CLIENTS_PYTHON" registry_docker_py.py)
  read -r of _ all <<<"$(tail -n 1 <<<"$output")"
  # One that ended early told no count: that is a step that failed.
  passed=$((passed + ${of:-0})) made=$((made + ${all:-1}))
fi

# Corten's command.
if [ -n "${CORTEN:-}" ]; then
  corten() { "$CORTEN" -H "$DOCKER_HOST" "$@"; }
  same "corten, login" "Login Succeeded" sh -c "echo secret | $CORTEN -H $DOCKER_HOST login -u somebody --password-stdin $R 2>/dev/null"
  docker rmi -f "$R/clients/made:1" >/dev/null
  step "corten pulls" corten pull "$R/clients/made:1"
  step "corten, digest" grep -q "Digest: $made_digest" <<<"$output"
  corten tag "$R/clients/made:1" "$R/clients/corten:1"
  step "corten pushes" corten push "$R/clients/corten:1"
  same "corten, the same there" "$(there clients/corten 1)" sh -c "$CORTEN -H $DOCKER_HOST image inspect -f '{{join .RepoDigests \"\n\"}}' $R/clients/corten:1 | sed -n 's|^$R/clients/corten@||p'"
  step "corten, manifest" corten manifest inspect "$R/clients/corten:1"
  step "corten, an artifact" corten artifact push "$R/clients/artifact:1" "$folder/compose.yaml"
  same "corten, tags" "1" sh -c "$CORTEN artifact ls $R/clients/artifact | awk 'NR == 2 {print \$1}'"
  step "corten, the artifact back" corten artifact pull -o "$folder/back" "$R/clients/artifact:1"
  step "corten, as it was" cmp "$folder/compose.yaml" "$folder/back/compose.yaml"
fi

# Logout.
step "logout" docker logout "$R"
docker rmi -f "$R/clients/made:1" >/dev/null
fails "pull after it" 1 "no basic auth credentials" docker pull "$R/clients/made:1"
finish
