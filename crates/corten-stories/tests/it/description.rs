//! Docker's own description of its API, walked: every operation is asked in five versions, and every answer is what
//! the description says it is.
//!
//! `CORTEN_API_DESCRIPTION` names the description (`swagger.yaml` of the Engine API). Without it the walk itself is
//! still made: every operation is asked, and its status is compared.

pub(super) mod http;
mod schema;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use http::{Answer, ask};
use schema::Description;

/// Method, path and first version of every documented operation.
const OPERATIONS: &str = include_str!("../../../corten-api/tests/it/operations.txt");

/// Versions that clients pin, from the oldest to the newest.
const VERSIONS: [u32; 5] = [24, 41, 44, 47, 51];

/// One question: the documented operation, the target with names filled in, the body, the status.
struct Step {
    operation: &'static str,
    target: &'static str,
    body: Option<Value>,
    status: u16,
}

fn step(operation: &'static str, target: &'static str, status: u16) -> Step {
    Step { operation, target, body: None, status }
}

fn send(operation: &'static str, target: &'static str, body: Value, status: u16) -> Step {
    Step { operation, target, body: Some(body), status }
}

/// What is asked, in the order of a container's life; `@` stands for the id that the last exec got, `~` for the time.
fn steps() -> Vec<Step> {
    let container = json!({
        "Image": "busybox", "Cmd": ["sleep", "600"], "Labels": {"walk": "yes"}, "ExposedPorts": {"80/tcp": {}},
        "Healthcheck": {"Test": ["CMD", "true"], "Interval": 1_000_000_000},
        "HostConfig": {"Binds": ["walked:/data"], "Memory": 33_554_432, "PidsLimit": 50},
    });
    vec![
        step("HEAD /_ping", "/_ping", 200),
        step("GET /_ping", "/_ping", 200),
        step("GET /version", "/version", 200),
        step("GET /info", "/info", 200),
        send("POST /volumes/create", "/volumes/create", json!({"Name": "walked", "Labels": {"a": "b"}}), 201),
        step("GET /volumes", "/volumes", 200),
        step("GET /volumes/{name}", "/volumes/walked", 200),
        step("GET /volumes/{name}", "/volumes/none", 404),
        send("PUT /volumes/{name}", "/volumes/walked?version=1", json!({}), 503),
        send("POST /networks/create", "/networks/create", json!({"Name": "walk", "Labels": {"a": "b"}}), 201),
        send("POST /containers/create", "/containers/create?name=walker", container.clone(), 201),
        send("POST /containers/create", "/containers/create?name=walker", container, 409),
        send("POST /containers/create", "/containers/create", json!({"Image": "no-such-image"}), 404),
        step("GET /containers/{id}/json", "/containers/walker/json", 200),
        step("POST /containers/{id}/start", "/containers/walker/start", 204),
        step("POST /containers/{id}/start", "/containers/walker/start", 304),
        send("POST /networks/{id}/connect", "/networks/walk/connect", json!({"Container": "walker"}), 200),
        step("GET /networks", "/networks", 200),
        step("GET /networks/{id}", "/networks/walk", 200),
        step("GET /networks/{id}", "/networks/none-such", 404),
        step("GET /containers/{id}/json", "/containers/walker/json?size=1", 200),
        step("GET /containers/json", "/containers/json?all=1&size=1", 200),
        step("GET /containers/json", "/containers/json?filters={\"none\":[\"x\"]}", 400),
        step("GET /containers/{id}/top", "/containers/walker/top", 200),
        step("GET /containers/{id}/logs", "/containers/walker/logs?stdout=1", 200),
        step("GET /containers/{id}/logs", "/containers/walker/logs", 400),
        step("GET /containers/{id}/stats", "/containers/walker/stats?stream=0&one-shot=1", 200),
        step("POST /containers/{id}/resize", "/containers/walker/resize?h=x&w=1", 400),
        send("POST /containers/{id}/update", "/containers/walker/update", json!({"PidsLimit": 60}), 200),
        step("POST /containers/{id}/pause", "/containers/walker/pause", 204),
        step("GET /containers/{id}/json", "/containers/walker/json", 200),
        step("POST /containers/{id}/unpause", "/containers/walker/unpause", 204),
        step("POST /containers/{id}/rename", "/containers/walker/rename?name=walked", 204),
        step("POST /containers/{id}/rename", "/containers/walked/rename?name=walker", 204),
        send(
            "POST /containers/{id}/exec",
            "/containers/walker/exec",
            json!({"Cmd": ["touch", "/made"], "AttachStdout": true}),
            201,
        ),
        step("GET /exec/{id}/json", "/exec/@/json", 200),
        send("POST /exec/{id}/start", "/exec/@/start", json!({"Detach": true}), 200),
        step("POST /exec/{id}/resize", "/exec/none/resize?h=1&w=1", 404),
        step("GET /exec/{id}/json", "/exec/none/json", 404),
        step("HEAD /containers/{id}/archive", "/containers/walker/archive?path=/etc", 200),
        step("GET /containers/{id}/archive", "/containers/walker/archive?path=/etc/passwd", 200),
        step("PUT /containers/{id}/archive", "/containers/walker/archive", 400),
        step("GET /containers/{id}/changes", "/containers/walker/changes", 200),
        step("GET /containers/{id}/export", "/containers/none/export", 404),
        step("POST /containers/{id}/attach", "/containers/none/attach", 404),
        step("GET /containers/{id}/attach/ws", "/containers/none/attach/ws", 404),
        step("POST /containers/{id}/restart", "/containers/walker/restart?t=0", 204),
        step("POST /containers/{id}/kill", "/containers/walker/kill?signal=KILL", 204),
        step("POST /containers/{id}/wait", "/containers/walker/wait", 200),
        step("POST /containers/{id}/wait", "/containers/none/wait", 404),
        step("POST /containers/{id}/stop", "/containers/walker/stop", 304),
        step("POST /containers/{id}/stop", "/containers/none/stop", 404),
        step("GET /events", "/events?since=1&until=~", 200),
        send("POST /commit", "/commit?container=walker&repo=walk&tag=one", json!({}), 201),
        step("GET /images/json", "/images/json", 200),
        step("GET /images/json", "/images/json?manifests=1", 200),
        step("GET /images/{name}/json", "/images/walk:one/json", 200),
        step("GET /images/{name}/json", "/images/none/json", 404),
        step("GET /images/{name}/history", "/images/walk:one/history", 200),
        step("POST /images/{name}/tag", "/images/walk:one/tag?repo=walk&tag=two", 201),
        step("GET /images/{name}/get", "/images/none/get", 404),
        step("GET /images/get", "/images/get?names=none", 404),
        step("POST /images/load", "/images/load", 200),
        step("POST /images/create", "/images/create?fromImage=UPPER", 400),
        // Registries that nobody runs: this walk leaves the machine alone.
        step("GET /images/search", "/images/search?term=127.0.0.1:1/x", 500),
        step("POST /images/{name}/tag", "/images/walk:one/tag?repo=127.0.0.1:1/walk", 201),
        step("POST /images/{name}/push", "/images/127.0.0.1:1/walk/push", 200),
        step("POST /images/{name}/push", "/images/127.0.0.1:1/none/push", 404),
        step("DELETE /images/{name}", "/images/127.0.0.1:1/walk", 200),
        step("GET /distribution/{name}/json", "/distribution/127.0.0.1:1/x/json", 500),
        send("POST /auth", "/auth", json!({"serveraddress": "127.0.0.1:1"}), 500),
        step("DELETE /images/{name}", "/images/walk:two", 200),
        step("DELETE /images/{name}", "/images/walk:one", 200),
        step("GET /system/df", "/system/df", 200),
        send(
            "POST /networks/{id}/disconnect",
            "/networks/walk/disconnect",
            json!({"Container": "walker"}),
            200,
        ),
        step("POST /containers/prune", "/containers/prune?filters={\"label\":[\"none\"]}", 200),
        step("DELETE /containers/{id}", "/containers/walker?v=1", 204),
        step("DELETE /containers/{id}", "/containers/walker", 404),
        step("DELETE /networks/{id}", "/networks/walk", 204),
        step("DELETE /networks/{id}", "/networks/bridge", 403),
        step("POST /networks/prune", "/networks/prune", 200),
        step("DELETE /volumes/{name}", "/volumes/walked", 204),
        step("POST /volumes/prune", "/volumes/prune", 200),
        step("POST /images/prune", "/images/prune", 200),
        step("POST /build", "/build", 501),
        step("POST /build/prune", "/build/prune", 200),
        step("POST /session", "/session", 501),
        step("GET /plugins", "/plugins", 200),
        step("GET /plugins/privileges", "/plugins/privileges?remote=x", 501),
        step("POST /plugins/pull", "/plugins/pull?remote=x", 501),
        step("GET /plugins/{name}/json", "/plugins/x/json", 404),
        step("DELETE /plugins/{name}", "/plugins/x", 404),
        step("POST /plugins/{name}/enable", "/plugins/x/enable", 404),
        step("POST /plugins/{name}/disable", "/plugins/x/disable", 404),
        step("POST /plugins/{name}/upgrade", "/plugins/x/upgrade?remote=y", 404),
        step("POST /plugins/create", "/plugins/create?name=x", 501),
        step("POST /plugins/{name}/push", "/plugins/x/push", 404),
        step("POST /plugins/{name}/set", "/plugins/x/set", 404),
        send("POST /swarm/init", "/swarm/init", json!({}), 501),
        send("POST /swarm/join", "/swarm/join", json!({}), 501),
        step("GET /swarm", "/swarm", 503),
        step("POST /swarm/leave", "/swarm/leave", 503),
        step("POST /swarm/update", "/swarm/update?version=1", 503),
        step("GET /swarm/unlockkey", "/swarm/unlockkey", 503),
        step("POST /swarm/unlock", "/swarm/unlock", 503),
        step("GET /nodes", "/nodes", 503),
        step("GET /nodes/{id}", "/nodes/x", 503),
        step("DELETE /nodes/{id}", "/nodes/x", 503),
        step("POST /nodes/{id}/update", "/nodes/x/update?version=1", 503),
        step("GET /services", "/services", 503),
        step("POST /services/create", "/services/create", 503),
        step("GET /services/{id}", "/services/x", 503),
        step("DELETE /services/{id}", "/services/x", 503),
        step("POST /services/{id}/update", "/services/x/update?version=1", 503),
        step("GET /services/{id}/logs", "/services/x/logs?stdout=1", 503),
        step("GET /tasks", "/tasks", 503),
        step("GET /tasks/{id}", "/tasks/x", 503),
        step("GET /tasks/{id}/logs", "/tasks/x/logs?stdout=1", 503),
        step("GET /secrets", "/secrets", 503),
        step("POST /secrets/create", "/secrets/create", 503),
        step("GET /secrets/{id}", "/secrets/x", 503),
        step("DELETE /secrets/{id}", "/secrets/x", 503),
        step("POST /secrets/{id}/update", "/secrets/x/update?version=1", 503),
        step("GET /configs", "/configs", 503),
        step("POST /configs/create", "/configs/create", 503),
        step("GET /configs/{id}", "/configs/x", 503),
        step("DELETE /configs/{id}", "/configs/x", 503),
        step("POST /configs/{id}/update", "/configs/x/update?version=1", 503),
    ]
}

#[test]
fn every_operation_answers_as_described_in_every_version() {
    let Some(daemon) = super::daemon("description") else { return };
    let description = std::env::var_os("CORTEN_API_DESCRIPTION").map(|path| Description::read(path.as_ref()));
    let socket = daemon.socket();
    let documented: BTreeMap<String, u32> = OPERATIONS
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (operation, since) = line.rsplit_once(' ').unwrap();
            (operation.to_owned(), since.parse().unwrap())
        })
        .collect();
    if let Some(description) = &description {
        let described: BTreeSet<String> = description.operations().collect();
        assert_eq!(documented.keys().cloned().collect::<BTreeSet<_>>(), described);
    }
    let steps = steps();
    let asked: BTreeSet<&str> = steps.iter().map(|step| step.operation).collect();
    let newest = VERSIONS[VERSIONS.len() - 1];
    for (operation, since) in &documented {
        assert_eq!(*since <= newest, asked.contains(operation.as_str()), "{operation}");
    }
    let mut wrong = Vec::new();
    let mut validated = 0;
    for version in VERSIONS {
        let mut exec = String::new();
        for step in &steps {
            let method = step.operation.split(' ').next().unwrap();
            let now = corten_std::Timestamp::now().unix_seconds().to_string();
            let target = format!("/v1.{version}{}", step.target.replace('@', &exec).replace('~', &now));
            let answer = ask(&socket, method, &target, step.body.as_ref());
            let mut complain = |what: String| wrong.push(format!("{method} {target}: {what}"));
            if answer.status != step.status {
                complain(format!("status {} {}, not {}", answer.status, answer.text(), step.status));
            }
            for header in ["api-version", "docker-experimental", "ostype", "server"] {
                if !answer.headers.contains_key(header) {
                    complain(format!("no header {header}"));
                }
            }
            if answer.status >= 400 && method != "HEAD" && !step.operation.ends_with("/attach") {
                check_error(&answer, &mut complain);
            }
            if let Some(description) = &description {
                validated += usize::from(description.check(step.operation, version, &answer, &mut complain));
            }
            if step.operation == "POST /containers/{id}/exec" {
                answer.json()["Id"].as_str().unwrap_or_default().clone_into(&mut exec);
            }
        }
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
    if description.is_some() {
        assert!(validated > 400, "only {validated} answers have a schema");
    }
}

/// An error is a document of one key.
fn check_error(answer: &Answer, complain: &mut impl FnMut(String)) {
    let document = answer.json();
    let keys = document.as_object().map(|object| object.keys().cloned().collect::<Vec<_>>());
    if keys != Some(vec!["message".to_owned()]) || document["message"].as_str().is_none_or(str::is_empty) {
        complain(format!("an error in another form: {}", answer.text()));
    }
}
