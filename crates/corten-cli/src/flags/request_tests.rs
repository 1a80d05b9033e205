//! Flags and the documents they come to, as data.

use super::super::create::CreateFlags;
use super::*;
use crate::context::Context;
use crate::entry::{Count, Entry, Words};

/// The flags alone, as a command of their own.
#[derive(Debug, clap::Parser)]
struct Typed {
    #[command(flatten)]
    flags: CreateFlags,
    words: Vec<String>,
}

static ENTRY: Entry = Entry {
    name: "container create",
    aliases: &[],
    usage: "",
    count: Count::Min(1),
    mixed: false,
    command: <Typed as clap::CommandFactory>::command,
    run: |_: &mut Context, _| Ok(0),
};

/// The document that a line comes to, or its error.
fn document(line: &str) -> Result<serde_json::Value, String> {
    let words = line.split_whitespace().map(std::ffi::OsString::from).collect();
    let words = Words { entry: &ENTRY, typed: "docker create".to_owned(), rest: words };
    let typed: Typed =
        words.parse().map_err(|error| error.text().lines().next().unwrap_or_default().to_owned())?;
    let subject = Subject { image: typed.words[0].clone(), command: typed.words[1..].to_vec() };
    let request = resolve(&typed.flags, &subject, Path::new("/here"), &[]).map_err(|error| error.text())?;
    Ok(serde_json::to_value(request).unwrap())
}

/// Checks parts of the document: pairs of pointer and JSON.
fn check(line: &str, expected: &[(&str, &str)]) {
    let document = document(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    for (pointer, json) in expected {
        let got = document.pointer(pointer).map_or("nothing".to_owned(), ToString::to_string);
        assert_eq!(got, *json, "{line}: {pointer}");
    }
}

fn refused(line: &str, expected: &str) {
    assert_eq!(document(line).unwrap_err(), expected, "{line}");
}

#[test]
fn what_runs() {
    check(
        "busybox",
        &[
            ("/Image", "\"busybox\""),
            ("/Cmd", "null"),
            ("/Env", "null"),
            ("/Entrypoint", "null"),
            ("/AttachStdin", "false"),
            ("/AttachStdout", "true"),
            ("/Tty", "false"),
            ("/HostConfig/NetworkMode", "\"default\""),
            ("/HostConfig/RestartPolicy", r#"{"Name":"no","MaximumRetryCount":0}"#),
            ("/HostConfig/MemorySwappiness", "-1"),
            ("/HostConfig/ConsoleSize", "[0,0]"),
            ("/HostConfig/PidsLimit", "0"),
            ("/HostConfig/Rootfs", "nothing"),
        ],
    );
    // Flags end at the image: what follows is the container's.
    check(
        "-it --rm busybox sh -c -x --rm",
        &[("/Cmd", r#"["sh","-c","-x","--rm"]"#), ("/Tty", "true"), ("/StdinOnce", "true")],
    );
    check("--tty=false -i=true busybox", &[("/Tty", "false"), ("/OpenStdin", "true")]);
    check(
        "-i -a stdout busybox",
        &[("/AttachStdin", "true"), ("/AttachStdout", "true"), ("/AttachStderr", "false")],
    );
    check("--entrypoint= busybox x", &[("/Entrypoint", r#"[""]"#), ("/Cmd", r#"["x"]"#)]);
    check(
        "--name a --name=b -u 1:2 -w /w -h host busybox",
        &[("/User", "\"1:2\""), ("/WorkingDir", "\"/w\""), ("/Hostname", "\"host\"")],
    );
    check("--rootfs sub -- ls", &[("/HostConfig/Rootfs", "\"/here/sub\"")]);
    check(
        "--stop-signal USR1 --stop-timeout 5 busybox",
        &[("/StopSignal", "\"USR1\""), ("/StopTimeout", "5")],
    );
    check("--init busybox", &[("/HostConfig/Init", "true")]);
}

#[test]
fn limits() {
    check(
        "-m 64m --memory-swap -1 --cpus 1.5 --cpu-shares=5 --pids-limit -1 --shm-size 8m --ulimit nofile=10:20 busybox",
        &[
            ("/HostConfig/Memory", "67108864"),
            ("/HostConfig/MemorySwap", "-1"),
            ("/HostConfig/NanoCpus", "1500000000"),
            ("/HostConfig/CpuShares", "5"),
            ("/HostConfig/PidsLimit", "-1"),
            ("/HostConfig/ShmSize", "8388608"),
            ("/HostConfig/Ulimits", r#"[{"Name":"nofile","Hard":20,"Soft":10}]"#),
        ],
    );
    check(
        "--device-read-bps /dev/sda:1mb busybox",
        &[("/HostConfig/BlkioDeviceReadBps", r#"[{"Path":"/dev/sda","Rate":1048576}]"#)],
    );
}

#[test]
fn rights() {
    check(
        "--cap-add net_admin --cap-drop CAP_CHOWN --security-opt systempaths=unconfined --read-only --privileged busybox",
        &[
            ("/HostConfig/CapAdd", r#"["CAP_NET_ADMIN"]"#),
            ("/HostConfig/CapDrop", r#"["CAP_CHOWN"]"#),
            ("/HostConfig/MaskedPaths", "[]"),
            ("/HostConfig/ReadonlyPaths", "[]"),
            ("/HostConfig/SecurityOpt", "null"),
            ("/HostConfig/ReadonlyRootfs", "true"),
            ("/HostConfig/Privileged", "true"),
        ],
    );
    check("busybox", &[("/HostConfig/CapAdd", "null"), ("/HostConfig/MaskedPaths", "null")]);
}

#[test]
fn mounts_and_ports() {
    check(
        "-v /anon -v vol:/v:ro -v ./x:/x --tmpfs /t:size=1m --mount type=bind,src=/a,dst=/b,ro --volumes-from c busybox",
        &[
            ("/Volumes", r#"{"/anon":{}}"#),
            ("/HostConfig/Binds", r#"["vol:/v:ro","/here/x:/x"]"#),
            ("/HostConfig/Tmpfs", r#"{"/t":"size=1m"}"#),
            ("/HostConfig/Mounts", r#"[{"Type":"bind","Source":"/a","Target":"/b","ReadOnly":true}]"#),
            ("/HostConfig/VolumesFrom", r#"["c"]"#),
        ],
    );
    check(
        "-p 127.0.0.1:8080:80 --expose 90 -P busybox",
        &[
            ("/ExposedPorts", r#"{"80/tcp":{},"90/tcp":{}}"#),
            ("/HostConfig/PortBindings", r#"{"80/tcp":[{"HostIp":"127.0.0.1","HostPort":"8080"}]}"#),
            ("/HostConfig/PublishAllPorts", "true"),
        ],
    );
}

#[test]
fn networks() {
    check(
        "--network host busybox",
        &[("/HostConfig/NetworkMode", "\"host\""), ("/NetworkingConfig/EndpointsConfig", "{}")],
    );
    check(
        "--network n1 --ip 10.0.0.5 --network-alias al busybox",
        &[
            ("/NetworkingConfig/EndpointsConfig/n1/IPAMConfig", r#"{"IPv4Address":"10.0.0.5"}"#),
            ("/NetworkingConfig/EndpointsConfig/n1/Aliases", r#"["al"]"#),
        ],
    );
    check(
        "--add-host a=1.2.3.4 --dns 1.1.1.1 busybox",
        &[("/HostConfig/ExtraHosts", r#"["a:1.2.3.4"]"#), ("/HostConfig/Dns", r#"["1.1.1.1"]"#)],
    );
}

#[test]
fn health_and_logs() {
    check(
        "--health-cmd true --health-interval 5s --health-retries 3 busybox",
        &[("/Healthcheck", r#"{"Test":["CMD-SHELL","true"],"Interval":5000000000,"Retries":3}"#)],
    );
    check("--no-healthcheck busybox", &[("/Healthcheck", r#"{"Test":["NONE"]}"#)]);
    check(
        "--log-driver json-file --log-opt max-size=1m --restart on-failure:3 busybox",
        &[
            ("/HostConfig/LogConfig", r#"{"Type":"json-file","Config":{"max-size":"1m"}}"#),
            ("/HostConfig/RestartPolicy", r#"{"Name":"on-failure","MaximumRetryCount":3}"#),
        ],
    );
}

#[test]
fn mistakes_are_told_in_docker_s_words() {
    refused("--no-such-flag busybox", "unknown flag: --no-such-flag");
    refused("-itZ busybox", "unknown shorthand flag: 'Z' in -Z");
    refused("--name", "flag needs an argument: --name");
    refused("-m abc busybox", "invalid argument \"abc\" for \"-m, --memory\" flag: invalid size: 'abc'");
    refused(
        "--cpus x busybox",
        "invalid argument \"x\" for \"--cpus\" flag: failed to parse x as a rational number",
    );
    refused(
        "--tty=maybe busybox",
        "invalid argument \"maybe\" for \"-t, --tty\" flag: strconv.ParseBool: parsing \"maybe\": invalid syntax",
    );
    refused(
        "--add-host nocolon busybox",
        "invalid argument \"nocolon\" for \"--add-host\" flag: bad format for add-host: \"nocolon\"",
    );
    refused("--rm --restart always busybox", "conflicting options: cannot specify both --restart and --rm");
    refused(
        "--mount type=volume busybox",
        "invalid argument \"type=volume\" for \"--mount\" flag: target is required",
    );
    refused(
        "--restart on-failure:x busybox",
        "invalid restart policy format: maximum retry count must be an integer",
    );
    refused(
        "--network n1 --network host busybox",
        "conflicting options: cannot attach both user-defined and non-user-defined network-modes",
    );
    refused(
        "-a nonsense busybox",
        "invalid argument \"nonsense\" for \"-a, --attach\" flag: valid streams are STDIN, STDOUT and STDERR",
    );
}
