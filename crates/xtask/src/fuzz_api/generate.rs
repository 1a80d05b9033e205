//! Requests from the description: most of them nearly right, the rest broken in a way somebody thought of.

use super::random::Random;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// One documented operation.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) method: String,
    pub(crate) path: String,
    parameters: Vec<Value>,
}

/// The description, read.
#[derive(Debug)]
pub(crate) struct Description {
    document: Value,
    pub(crate) operations: Vec<Operation>,
}

/// A request as bytes, and what it was made from.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) operation: String,
    pub(crate) bytes: Vec<u8>,
    /// The answer may go on for ever, or wait for something.
    pub(crate) streams: bool,
    /// The bytes are no request at all, or end too early.
    pub(crate) broken: bool,
}

/// Words for whatever is a string: names that exist, and what tends to go wrong.
const WORDS: &[&str] = &[
    "keep",
    "made",
    "ended",
    "bridge",
    "host",
    "none",
    "busybox",
    "busybox:latest",
    "kept",
    "walk",
    "",
    "x",
    "0",
    "-1",
    "true",
    "1h",
    "10m",
    "/",
    "/etc",
    "/etc/passwd",
    "../..",
    "/proc/self/root",
    "/tmp/x:/y",
    "a=b",
    "80/tcp",
    "127.0.0.1",
    "fd00::1",
    "10.199.7.0/24",
    "999.1.1.1",
    "KILL",
    "SIGTERM",
    "15",
    "latest",
    "UPPER",
    "a:b:c",
    "@",
    "sha256:",
    "sha256:0000000000000000000000000000000000000000000000000000000000000000",
    "{\"label\":[\"x\"]}",
    "{\"label\":",
    "[]",
    "{}",
    "null",
    "\u{0}",
    "\u{feff}é漢\u{1f980}",
    "%s%n",
    "a b",
    "\n",
    "'",
    "\"",
    "unlimited",
    "2147483648",
    "9223372036854775808",
    "1e400",
    "json-file",
    "no-such-driver",
    "local",
    "runc",
    "always",
    "on-failure",
    "container:keep",
    "container:",
    "2024-01-01T00:00:00Z",
    "1700000000.5",
    "0x10",
    "CAP_SYS_ADMIN",
    "ALL",
    "nofile=1:2",
    "/dev/null",
];

/// What a container is told to run; nothing here harms a machine.
const COMMANDS: &[&[&str]] = &[
    &["true"],
    &["sleep", "1"],
    &["sleep", "60"],
    &["echo", "x"],
    &["no-such-program"],
    &["cat"],
    &[],
    &[""],
];

const NUMBERS: &[i64] = &[
    0,
    1,
    -1,
    2,
    7,
    80,
    255,
    256,
    65535,
    65536,
    4_194_304,
    33_554_432,
    -2_147_483_648,
    4_294_967_296,
    i64::MAX,
    i64::MIN,
];

const VERSIONS: &[&str] = &[
    "", "/v1.51", "/v1.51", "/v1.44", "/v1.41", "/v1.24", "/v1.23", "/v1.99", "/v9.9", "/v1", "/v1.x",
    "/v-1.2", "/V1.51",
];

impl Description {
    /// Reads one.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let document: Value =
            serde_yaml_ng::from_str(text).map_err(|error| format!("the description: {error}"))?;
        let mut operations = Vec::new();
        for (path, methods) in document["paths"].as_object().into_iter().flatten() {
            for (method, operation) in methods.as_object().into_iter().flatten() {
                let mut parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
                parameters.extend(methods["parameters"].as_array().cloned().unwrap_or_default());
                if method != "parameters" {
                    let (method, path) = (method.to_uppercase(), path.clone());
                    operations.push(Operation { method, path, parameters });
                }
            }
        }
        if operations.is_empty() {
            return Err("the description has no paths".to_owned());
        }
        Ok(Self { document, operations })
    }

    /// The next request for one operation.
    pub(crate) fn request(&self, operation: &Operation, random: &mut Random) -> Request {
        let mut path = operation.path.clone();
        let mut query = Vec::new();
        let mut headers = String::new();
        let mut body = Vec::new();
        let mut wild = if random.percent(50) { 0 } else { *random.pick(&[2, 10, 40]) };
        for parameter in &operation.parameters {
            let name = parameter["name"].as_str().unwrap_or_default();
            let required = parameter["required"] == true;
            match parameter["in"].as_str() {
                Some("path") => {
                    let named =
                        known(&operation.path, random).map_or_else(|| word(random, wild), str::to_owned);
                    path = path.replace(&format!("{{{name}}}"), &escape(&named, random));
                }
                Some("query") if random.percent(if required { 90 } else { 40 }) => {
                    let value = query_value(parameter, name, random, wild);
                    query.push(format!("{name}={}", escape(&value, random)));
                }
                Some("header") if random.percent(40) => {
                    let value = word(random, wild).replace(['\r', '\n'], "");
                    let _ = write!(headers, "{name}: {value}\r\n");
                }
                Some("body") if random.percent(90) => body = self.body(operation, parameter, random, wild),
                _ => {}
            }
        }
        if random.percent(3) {
            query.push(format!("{}={}", word(random, 50), "q".repeat(random.below(20_000))));
        }
        if operation.path.ends_with("/load")
            || operation.path.ends_with("/archive")
            || operation.path == "/build"
        {
            body = archive(random);
            wild = 0;
        }
        let version = if random.percent(80) {
            VERSIONS[random.below(6)]
        } else {
            VERSIONS[random.below(VERSIONS.len())]
        };
        let separator = if query.is_empty() { "" } else { "?" };
        let target = format!("{version}{path}{separator}{}", query.join("&"));
        let (bytes, broken) = frame(&operation.method, &target, &headers, &body, random, wild);
        let name = format!("{} {}", operation.method, operation.path);
        let streams = [
            "/attach", "/ws", "/wait", "/events", "/stats", "/logs", "/start", "/session", "/stop",
            "/restart",
        ];
        Request { streams: streams.iter().any(|end| name.ends_with(end)), operation: name, bytes, broken }
    }

    fn body(&self, operation: &Operation, parameter: &Value, random: &mut Random, wild: usize) -> Vec<u8> {
        let mut value = self.value(&parameter["schema"], "", random, wild, 0);
        if operation.path == "/containers/create" && value.is_object() && random.percent(90) {
            value["Image"] = json!(random.pick(&["busybox", "busybox:latest", "kept"]));
            value["Cmd"] = json!(random.pick(COMMANDS));
        }
        match random.below(if wild == 0 { 1000 } else { 40 }) {
            0 => return Vec::new(),
            1 => return b"{".repeat(100_000),
            2 => return b"[".repeat(1 + random.below(300_000)),
            3 => return vec![0xff, 0xfe, b'{', 0x80],
            4 => return b"null".to_vec(),
            5 => return vec![b' '; 200_000],
            6 if value.is_object() => value[word(random, 0)] = json!("x".repeat(random.below(3_000_000))),
            _ => {}
        }
        let mut bytes = value.to_string().into_bytes();
        match random.below(if wild == 0 { 1000 } else { 20 }) {
            0 => bytes.truncate(random.below(bytes.len())),
            1 if !bytes.is_empty() => {
                let at = random.below(bytes.len());
                bytes[at] = *random.pick(&[0, 0xff, b'"', b'}', b'\\']);
            }
            2 => bytes.extend_from_slice(b"{\"more\":1}"),
            _ => {}
        }
        bytes
    }

    /// A value for a schema; `wild` of a hundred values are something else.
    fn value(&self, schema: &Value, name: &str, random: &mut Random, wild: usize, depth: usize) -> Value {
        if random.percent(wild) {
            return wrong(random);
        }
        match name {
            "Cmd" | "Entrypoint" | "Test" => return json!(random.pick(COMMANDS)),
            "Binds" | "Source" | "PathOnHost" | "CgroupParent" | "IpcMode" | "PidMode" | "Parent"
                if random.percent(80) =>
            {
                return Value::Null;
            }
            "RestartPolicy" if random.percent(90) => return Value::Null,
            _ => {}
        }
        if let Some(reference) = schema["$ref"].as_str() {
            let name = reference.rsplit('/').next().unwrap_or_default();
            return self.value(&self.document["definitions"][name], name, random, wild, depth);
        }
        if let Some(values) = schema["enum"].as_array()
            && random.percent(80)
        {
            return random.pick(values).clone();
        }
        let mut object = Map::new();
        for part in schema["allOf"].as_array().into_iter().flatten() {
            if let Value::Object(part) = self.value(part, "", random, 0, depth) {
                object.extend(part);
            }
        }
        let properties = schema["properties"].as_object();
        if properties.is_some() || !object.is_empty() || schema["type"] == "object" {
            for (name, property) in properties.into_iter().flatten() {
                if depth < 6 && random.percent(if depth < 2 { 25 } else { 40 }) {
                    object.insert(name.clone(), self.value(property, name, random, wild, depth + 1));
                }
            }
            if schema["additionalProperties"].is_object() && depth < 6 {
                for _ in 0..random.below(3) {
                    let value = self.value(&schema["additionalProperties"], "", random, wild, depth + 1);
                    object.insert(word(random, wild), value);
                }
            }
            return Value::Object(object);
        }
        match schema["type"].as_str() {
            Some("array") if depth < 7 => (0..random.below(3))
                .map(|_| self.value(&schema["items"], name, random, wild, depth + 1))
                .collect(),
            Some("integer" | "number") => json!(random.pick(NUMBERS)),
            Some("boolean") => json!(random.percent(50)),
            Some("string") if random.percent(30) && schema["example"].is_string() && depth > 0 => {
                schema["example"].clone()
            }
            Some("string") => json!(word(random, wild)),
            _ => Value::Null,
        }
    }
}

fn query_value(parameter: &Value, name: &str, random: &mut Random, wild: usize) -> String {
    if random.percent(wild) {
        return word(random, 100);
    }
    match (name, parameter["type"].as_str()) {
        ("t" | "timeout", _) => random.pick(&["0", "1", "-1", "x", "99999999999999999999"]).to_string(),
        ("filters", _) => filters(random),
        ("path", _) => {
            random.pick(&["/etc", "/", "/etc/passwd", "etc", "../../..", "/proc", "/none"]).to_string()
        }
        ("until" | "since", _) => random.pick(&["1", "1700000000", "-1", "x", "1.5", ""]).to_string(),
        ("fromSrc", _) => random.pick(&["-", "", "x"]).to_string(),
        (_, Some("boolean")) => random.pick(&["1", "0", "true", "false", "", "x", "True"]).to_string(),
        (_, Some("integer")) => random.pick(NUMBERS).to_string(),
        _ => word(random, wild),
    }
}

fn word(random: &mut Random, wild: usize) -> String {
    if random.percent(wild / 10) {
        return random.pick(&["a", "/", "../", "漢", "%", "{", " "]).repeat(random.below(30_000));
    }
    random.pick(WORDS).to_string()
}

/// A name of the right kind, mostly.
fn known(path: &str, random: &mut Random) -> Option<&'static str> {
    if random.percent(15) {
        return None;
    }
    let names: &[&str] = match path.split('/').nth(1)? {
        "containers" => &["keep", "keep", "made", "ended"],
        "images" | "distribution" => &["busybox", "busybox:latest", "kept"],
        "networks" => &["bridge", "walk", "host", "none"],
        "volumes" => &["kept", "walk"],
        _ => return None,
    };
    Some(*random.pick(names))
}

fn filters(random: &mut Random) -> String {
    let key = random.pick(&[
        "label", "name", "id", "status", "until", "dangling", "before", "since", "type", "none", "event",
    ]);
    let value = random.pick(WORDS);
    match random.below(6) {
        0 => json!({*key: {*value: true}}).to_string(),
        1 => json!({*key: value}).to_string(),
        2 => random.pick(&["{", "[]", "x", "null", "1", "{\"a\":{\"b\":{}}}"]).to_string(),
        _ => json!({*key: [value]}).to_string(),
    }
}

fn wrong(random: &mut Random) -> Value {
    match random.below(9) {
        0 => Value::Null,
        1 => json!(true),
        2 => json!(-1.5e300),
        3 => json!(random.pick(NUMBERS)),
        4 => json!(random.pick(WORDS)),
        5 => json!([[[{}]]]),
        6 => json!({"": {"": null}}),
        7 => json!("é".repeat(random.below(70_000))),
        _ => (0..random.below(60)).fold(json!(1), |inner, _| json!({"a": [inner]})),
    }
}

/// Something that begins as an archive does.
fn archive(random: &mut Random) -> Vec<u8> {
    let mut block = vec![0_u8; 512];
    block[..8].copy_from_slice(b"manifest");
    block[124..135]
        .copy_from_slice(random.pick(&[b"00000000002", b"77777777777", b"xxxxxxxxxxx"]).as_slice());
    block[156] = *random.pick(b"0125LKxg\xff");
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    match random.below(6) {
        0 => Vec::new(),
        1 => b"\x1f\x8b\x08\x00garbage".to_vec(),
        2 => b"\x28\xb5\x2f\xfdgarbage".to_vec(),
        3 => vec![0xaa; random.below(50_000)],
        4 => block,
        _ => {
            block.extend_from_slice(&[0; 2048]);
            block
        }
    }
}

/// Escapes what a target cannot hold; now and then it does not.
fn escape(word: &str, random: &mut Random) -> String {
    if random.percent(2) {
        return random
            .pick(&["%", "%zz", "%00", "%ff%fe", "..", "%2e%2e%2f", "//", "\u{7f}", "%C0%AF"])
            .to_string();
    }
    let mut escaped = String::with_capacity(word.len());
    for byte in word.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:/".contains(&byte) {
            escaped.push(byte.into());
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

/// The bytes on the wire; the second value tells whether they are no whole request.
fn frame(
    method: &str,
    target: &str,
    headers: &str,
    body: &[u8],
    random: &mut Random,
    wild: usize,
) -> (Vec<u8>, bool) {
    let kind = random.pick(&[
        "Content-Type: application/json\r\n",
        "Content-Type: application/json\r\n",
        "",
        "Content-Type: text/plain\r\n",
    ]);
    let head = |more: &str| {
        format!("{method} {target} HTTP/1.1\r\nHost: d\r\n{headers}{kind}{more}\r\n").into_bytes()
    };
    let length = format!("Content-Length: {}\r\n", body.len());
    let join = |mut bytes: Vec<u8>, rest: &[u8]| {
        bytes.extend_from_slice(rest);
        bytes
    };
    let chunk = |size: &str, end: &str| {
        let mut bytes = head("Transfer-Encoding: chunked\r\n");
        bytes.extend_from_slice(format!("{size}\r\n").as_bytes());
        bytes.extend_from_slice(body);
        bytes.extend_from_slice(end.as_bytes());
        bytes
    };
    let size = format!("{:x}", body.len());
    match random.below(if wild == 0 { 400 } else { 40 }) {
        0 => (chunk(&size, "\r\n"), true),
        1 => (chunk(&format!("{size};name=\"value\""), "\r\n0\r\nTrailer: x\r\n\r\n"), body.is_empty()),
        2 => (chunk("ffffffffffffffff", "\r\n0\r\n\r\n"), true),
        3 => (chunk("fffffffffffffffff", "\r\n0\r\n\r\n"), true),
        4 => (chunk("-1", "\r\n0\r\n\r\n"), true),
        5 => (join(head(&format!("{length}Transfer-Encoding: chunked\r\n")), body), true),
        6 => (join(head(&format!("{length}Content-Length: 1\r\n")), body), true),
        7 => (join(head("Content-Length: -5\r\n"), body), true),
        8 => (join(head(&format!("Content-Length: {}\r\n", body.len() + 10)), body), true),
        9 => (join(head(&format!("{length}X-Long: {}\r\n", "h".repeat(150_000))), body), true),
        10 => (join(head(&format!("{length}{}", "X: y\r\n".repeat(2000))), body), true),
        11 => (format!("{method} {target} HTTP/1.1\nHost: d\n\n").into_bytes(), true),
        12 => (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00".to_vec(), true),
        13 => (format!("{method} {target}\r\n\r\n").into_bytes(), true),
        14 => (format!("{method} http://d{target} HTTP/1.0\r\n{length}\r\n").into_bytes(), true),
        15 => (join(head(&format!("{length}Expect: 100-continue\r\n")), body), false),
        16 => (join(head(&format!("{length}Upgrade: tcp\r\nConnection: Upgrade\r\n")), body), false),
        17 => (
            join(head(&format!("{length}Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n")), body),
            false,
        ),
        18 => (join(head("Transfer-Encoding: gzip\r\n"), body), true),
        19 => {
            (join(head(&format!("{length}Accept-Encoding: gzip\r\nContent-Encoding: gzip\r\n")), body), false)
        }
        20 => {
            let mut part = join(head(&length), body);
            part.truncate(random.below(60));
            (part, true)
        }
        21..30 if !body.is_empty() => (chunk(&size, "\r\n0\r\n\r\n"), false),
        _ => (join(head(&length), body), false),
    }
}
