//! Every operation of the Engine API that one request can ask for: how long until its answer is whole, with one container and
//! with five hundred.

use super::connection::{Answer, Connection};
use super::engine::Engine;
use super::{Bench, Result, Row, median};
use std::time::Instant;

/// Repetitions of each operation on each engine, in turn.
const RUNS: usize = 7;
/// How many containers there are in the second part, and how many of them run.
const CROWD: [usize; 2] = [500, 100];

/// A request: method, path, and body. In path and body `{image}` is the bench's image, and `{Id}` what the last
/// answer with an `Id` had; a body of [`ANSWER`] is the last answer's own body.
type Request = (&'static str, &'static str, &'static str);

/// A body that is the answer to the request before.
const ANSWER: &str = "{answer}";

/// What is timed, and what has to be there before and is taken away afterwards, without being timed.
struct Operation {
    before: &'static [Request],
    timed: Request,
    after: &'static [Request],
    /// The status of a whole answer.
    status: u16,
}

const fn get(path: &'static str) -> Operation {
    Operation { before: &[], timed: ("GET", path, ""), after: &[], status: 200 }
}

const fn no_swarm(path: &'static str) -> Operation {
    Operation { before: &[], timed: ("GET", path, ""), after: &[], status: 503 }
}

const fn change(
    before: &'static [Request],
    timed: Request,
    after: &'static [Request],
    status: u16,
) -> Operation {
    Operation { before, timed, after, status }
}

const CREATE: Request = (
    "POST",
    "/containers/create?name=bench-new",
    r#"{"Image":"{image}","Cmd":["sleep","3600"],"Labels":{"bench":""},"HostConfig":{"NetworkMode":"bench-net"}}"#,
);
const CREATE_DEFAULT: Request = (
    "POST",
    "/containers/create?name=bench-new",
    r#"{"Image":"{image}","Cmd":["sleep","3600"],"Labels":{"bench":""}}"#,
);
const START: Request = ("POST", "/containers/bench-new/start", "");
const PAUSE: Request = ("POST", "/containers/bench-new/pause", "");
const REMOVE: Request = ("DELETE", "/containers/bench-new?force=1", "");
const EXEC: Request =
    ("POST", "/containers/bench-op/exec", r#"{"Cmd":["true"],"AttachStdout":false,"AttachStderr":false}"#);
const ARCHIVE: Request = ("GET", "/containers/bench-op/archive?path=/etc/passwd", "");
const NETWORK: Request = ("POST", "/networks/create", r#"{"Name":"bench-second","Labels":{"bench":""}}"#);
const REMOVE_NETWORK: Request = ("DELETE", "/networks/bench-second", "");
const CONNECT: Request = ("POST", "/networks/bench-second/connect", r#"{"Container":"bench-op"}"#);
const DISCONNECT: Request =
    ("POST", "/networks/bench-second/disconnect", r#"{"Container":"bench-op","Force":true}"#);
const VOLUME: Request = ("POST", "/volumes/create", r#"{"Name":"bench-second","Labels":{"bench":""}}"#);
const TAG: Request = ("POST", "/images/{image}/tag?repo=bench-tag&tag=new", "");
const UNTAG: Request = ("DELETE", "/images/bench-tag:new", "");

/// In the order of Docker's description.
const OPERATIONS: &[Operation] = &[
    get("/containers/json"),
    get("/containers/json?all=1"),
    get("/containers/json?all=1&limit=10"),
    get(r#"/containers/json?filters={"name":["bench-op"]}"#),
    get("/containers/json?size=1"),
    change(&[], CREATE, &[REMOVE], 201),
    get("/containers/bench-op/json"),
    get("/containers/bench-op/json?size=1"),
    get("/containers/bench-op/top"),
    get("/containers/bench-op/logs?stdout=1&stderr=1"),
    get("/containers/bench-op/changes"),
    get("/containers/bench-op/export"),
    get("/containers/bench-op/stats?stream=0&one-shot=1"),
    change(&[CREATE_DEFAULT], START, &[REMOVE], 204),
    change(&[CREATE_DEFAULT, START], ("POST", "/containers/bench-new/stop?t=0", ""), &[REMOVE], 204),
    change(&[CREATE_DEFAULT, START], ("POST", "/containers/bench-new/restart?t=0", ""), &[REMOVE], 204),
    change(&[CREATE_DEFAULT, START], ("POST", "/containers/bench-new/kill", ""), &[REMOVE], 204),
    change(&[], ("POST", "/containers/bench-op/update", r#"{"CpuShares":512}"#), &[], 200),
    change(
        &[CREATE_DEFAULT],
        ("POST", "/containers/bench-new/rename?name=bench-renamed", ""),
        &[("DELETE", "/containers/bench-renamed?force=1", "")],
        204,
    ),
    change(&[CREATE_DEFAULT, START], PAUSE, &[REMOVE], 204),
    change(&[CREATE_DEFAULT, START, PAUSE], ("POST", "/containers/bench-new/unpause", ""), &[REMOVE], 204),
    change(&[], ("POST", "/containers/bench-ended/wait", ""), &[], 200),
    change(&[CREATE_DEFAULT], ("DELETE", "/containers/bench-new", ""), &[], 204),
    change(&[CREATE_DEFAULT, START], ("DELETE", "/containers/bench-new?force=1", ""), &[], 204),
    change(&[], ("HEAD", "/containers/bench-op/archive?path=/etc/passwd", ""), &[], 200),
    get("/containers/bench-op/archive?path=/etc/passwd"),
    change(&[ARCHIVE], ("PUT", "/containers/bench-op/archive?path=/tmp", ANSWER), &[], 200),
    change(&[], ("POST", r#"/containers/prune?filters={"label":["bench-none"]}"#, ""), &[], 200),
    change(&[], EXEC, &[], 201),
    change(&[EXEC], ("POST", "/exec/{Id}/start", r#"{"Detach":true}"#), &[], 200),
    change(&[EXEC], ("GET", "/exec/{Id}/json", ""), &[], 200),
    get("/images/json"),
    get("/images/json?all=1&digests=1"),
    get("/images/{image}/json"),
    get("/images/{image}/history"),
    change(&[], TAG, &[UNTAG], 201),
    change(&[TAG], UNTAG, &[], 200),
    get("/images/{image}/get"),
    change(&[("GET", "/images/{image}/get", "")], ("POST", "/images/load?quiet=1", ANSWER), &[], 200),
    change(
        &[ARCHIVE],
        ("POST", "/images/create?fromSrc=-&repo=bench-imported", ANSWER),
        &[("DELETE", "/images/bench-imported", "")],
        200,
    ),
    change(&[], ("POST", r#"/images/prune?filters={"label":["bench-none"]}"#, ""), &[], 200),
    change(
        &[],
        ("POST", "/commit?container=bench-op&repo=bench-commit&pause=0", "{}"),
        &[("DELETE", "/images/bench-commit", "")],
        201,
    ),
    get("/networks"),
    get("/networks/bridge"),
    get("/networks/bridge?verbose=1"),
    change(&[], NETWORK, &[REMOVE_NETWORK], 201),
    change(&[NETWORK], REMOVE_NETWORK, &[], 204),
    change(&[NETWORK], CONNECT, &[DISCONNECT, REMOVE_NETWORK], 200),
    change(&[NETWORK, CONNECT], DISCONNECT, &[REMOVE_NETWORK], 200),
    change(&[], ("POST", r#"/networks/prune?filters={"label":["bench-none"]}"#, ""), &[], 200),
    get("/volumes"),
    get("/volumes/bench-volume"),
    change(&[], VOLUME, &[("DELETE", "/volumes/bench-second", "")], 201),
    change(&[VOLUME], ("DELETE", "/volumes/bench-second", ""), &[], 204),
    change(&[], ("POST", r#"/volumes/prune?filters={"label":["bench-none"]}"#, ""), &[], 200),
    get("/_ping"),
    change(&[], ("HEAD", "/_ping", ""), &[], 200),
    get("/version"),
    get("/info"),
    get("/events?since=1&until=2"),
    get("/system/df"),
    get("/system/df?type=container"),
    get("/plugins"),
    no_swarm("/swarm"),
    no_swarm("/nodes"),
    no_swarm("/services"),
    no_swarm("/tasks"),
    no_swarm("/secrets"),
    no_swarm("/configs"),
];

/// What stands there for all operations, and is gone afterwards.
const STANDING: &[Request] = &[
    ("POST", "/networks/create", r#"{"Name":"bench-net","Labels":{"bench":""}}"#),
    ("POST", "/volumes/create", r#"{"Name":"bench-volume","Labels":{"bench":""}}"#),
    (
        "POST",
        "/containers/create?name=bench-op",
        r#"{"Image":"{image}","Cmd":["sh","-c","echo a line of its log; exec sleep 3600"],"Labels":{"bench":""}}"#,
    ),
    ("POST", "/containers/bench-op/start", ""),
    (
        "POST",
        "/containers/create?name=bench-ended",
        r#"{"Image":"{image}","Cmd":["true"],"Labels":{"bench":""}}"#,
    ),
    ("POST", "/containers/bench-ended/start", ""),
    ("POST", "/containers/bench-ended/wait", ""),
];
const TAKEN_AWAY: &[Request] = &[
    ("DELETE", "/containers/bench-op?force=1", ""),
    ("DELETE", "/containers/bench-ended?force=1", ""),
    ("DELETE", "/networks/bench-net", ""),
    ("DELETE", "/volumes/bench-volume", ""),
];

/// One engine's connection, and what earlier answers said.
struct Talk {
    connection: Connection,
    image: String,
    id: String,
    answer: Vec<u8>,
}

impl Talk {
    fn open(engine: &Engine, image: &str) -> Result<Self> {
        let connection = Connection::open(&engine.host)?;
        Ok(Self { connection, image: image.to_owned(), id: String::new(), answer: Vec::new() })
    }

    /// Sends `request`; gives the milliseconds until its answer was whole.
    fn send(&mut self, (method, path, body): Request) -> Result<(f64, u16)> {
        let path = path
            .replace("{image}", &self.image)
            .replace("{Id}", &self.id)
            .replace('"', "%22")
            .replace('{', "%7B")
            .replace('}', "%7D");
        let (kind, body) = match body {
            ANSWER => ("application/x-tar", std::mem::take(&mut self.answer)),
            text => ("application/json", text.replace("{image}", &self.image).into_bytes()),
        };
        let begun = Instant::now();
        let Answer { status, body } = self.connection.ask(method, &path, kind, &body)?;
        let took = begun.elapsed().as_secs_f64() * 1000.0;
        if body.len() < 64 << 10
            && let Ok(document) = serde_json::from_slice::<serde_json::Value>(&body)
            && let Some(id) = document["Id"].as_str()
        {
            id.clone_into(&mut self.id);
        }
        if !(200..400).contains(&status) && status != 503 {
            let said = String::from_utf8_lossy(&body).into_owned();
            return Err(format!("{method} {path}: {status} {}", said.trim()));
        }
        self.answer = body;
        Ok((took, status))
    }

    fn all(&mut self, requests: &[Request]) -> Result<()> {
        requests.iter().try_for_each(|request| self.send(*request).map(drop))
    }

    fn time(&mut self, operation: &Operation) -> Result<f64> {
        self.all(operation.before)?;
        let outcome = self.send(operation.timed);
        let cleaned = self.all(operation.after);
        let (took, status) = outcome?;
        cleaned?;
        if status != operation.status {
            let (method, path, _) = operation.timed;
            return Err(format!("{method} {path}: status {status}, {} is right", operation.status));
        }
        Ok(took)
    }
}

impl Bench<'_> {
    /// The rows of all operations, and what their ratios are in the middle and at the least.
    pub(super) fn operations(&mut self, image: &str) -> Result<()> {
        if !self.settings.wants("operation") {
            return Ok(());
        }
        let engines = self.both();
        let mut talks = Vec::new();
        for (_, engine) in &engines {
            let mut talk = Talk::open(engine, image)?;
            talk.all(STANDING)?;
            talks.push(talk);
        }
        self.each_operation(&mut talks, "1 container")?;
        let [all, running] = CROWD;
        for (_, engine) in &engines {
            for number in 0..all {
                let words: &[&str] = if number < running { &["run", "-d"] } else { &["create"] };
                let rest = ["--label", "bench", "--network", "none", image, "sleep", "3600"];
                engine.output(&[words, &rest].concat())?;
            }
        }
        self.each_operation(&mut talks, "500 containers")?;
        for ((_, engine), talk) in engines.iter().zip(&mut talks) {
            talk.all(TAKEN_AWAY)?;
            engine.clean();
        }
        Ok(())
    }

    fn each_operation(&mut self, talks: &mut [Talk], crowd: &str) -> Result<()> {
        let mut ratios = Vec::new();
        for operation in OPERATIONS {
            let mut times = vec![Vec::new(); talks.len()];
            for run in 0..=RUNS {
                for (talk, times) in talks.iter_mut().zip(&mut times) {
                    let took = talk.time(operation)?;
                    // The first is a warm-up.
                    if run > 0 {
                        times.push(took);
                    }
                }
            }
            let (method, path, _) = operation.timed;
            let other = times.get_mut(1).map(|times| median(times));
            let corten = median(&mut times[0]);
            let row = Row {
                name: format!("operation {method} {path}, {crowd}"),
                unit: "ms",
                corten,
                other,
                rate: false,
                wanted: ">= 3x",
            };
            ratios.extend(row.ratio());
            self.push(row);
        }
        if ratios.is_empty() {
            return Ok(());
        }
        let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let middle = median(&mut ratios);
        let row = |name: &str, corten, wanted| Row {
            name: format!("{name} of {} operations, {crowd}", OPERATIONS.len()),
            unit: "x",
            corten,
            other: None,
            rate: true,
            wanted,
        };
        self.push(row("median ratio", middle, ">= 10x"));
        self.push(row("least ratio", least, ">= 3x"));
        Ok(())
    }
}
