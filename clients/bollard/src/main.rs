//! The life of containers, images, networks and volumes through bollard, whose types refuse what they do not know.

use std::future::Future;
use std::time::Duration;

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::exec::StartExecResults;
use bollard::models::{
    ContainerCreateBody, ContainerUpdateBody, ExecConfig, HostConfig, NetworkConnectRequest, NetworkCreateRequest,
    NetworkDisconnectRequest, VolumeCreateRequest,
};
use bollard::query_parameters as query;
use futures_util::StreamExt;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

#[derive(Default)]
struct Steps {
    made: u32,
    passed: u32,
}

impl Steps {
    /// A step that fails is told and counted; the others go on.
    async fn step(&mut self, name: &str, action: impl Future<Output = Outcome<()>>) {
        self.made += 1;
        match tokio::time::timeout(Duration::from_secs(30), action).await {
            Ok(Ok(())) => self.passed += 1,
            Ok(Err(error)) => eprintln!("FAILED {name}: {error}"),
            Err(_) => eprintln!("FAILED {name}: no end within 30 s"),
        }
    }
}

fn holds(condition: bool, what: &str) -> Outcome<()> {
    if condition { Ok(()) } else { Err(what.into()) }
}

fn refused<T>(result: Result<T, bollard::errors::Error>, wanted: u16) -> Outcome<()> {
    match result {
        Err(bollard::errors::Error::DockerResponseServerError { status_code, .. }) if status_code == wanted => Ok(()),
        Err(error) => Err(format!("{error}, not {wanted}").into()),
        Ok(_) => Err(format!("it succeeded; {wanted} was wanted").into()),
    }
}

fn body(command: &[&str]) -> ContainerCreateBody {
    ContainerCreateBody {
        image: Some("busybox".to_owned()),
        cmd: Some(command.iter().map(|&word| word.to_owned()).collect()),
        labels: Some([("clients".to_owned(), "bollard".to_owned())].into()),
        ..ContainerCreateBody::default()
    }
}

async fn create(docker: &Docker, name: &str, body: ContainerCreateBody) -> Outcome<()> {
    let name = format!("bollard-{name}");
    let options = query::CreateContainerOptionsBuilder::default().name(&name).build();
    docker.create_container(Some(options), body).await?;
    Ok(())
}

async fn exec(docker: &Docker, name: &str, command: &[&str]) -> Outcome<(String, i64)> {
    let config = ExecConfig {
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        cmd: Some(command.iter().map(|&word| word.to_owned()).collect()),
        ..ExecConfig::default()
    };
    let id = docker.create_exec(name, config).await?.id;
    let mut text = String::new();
    if let StartExecResults::Attached { mut output, .. } = docker.start_exec(&id, None).await? {
        while let Some(piece) = output.next().await {
            text += &piece?.to_string();
        }
    }
    let code = docker.inspect_exec(&id).await?.exit_code.unwrap_or(-1);
    Ok((text, code))
}

async fn clean(docker: &Docker) {
    let force = || query::RemoveContainerOptionsBuilder::default().force(true).v(true).build();
    for name in ["life", "other", "logs", "peer"] {
        let _ = docker.remove_container(&format!("bollard-{name}"), Some(force())).await;
    }
    let _ = docker.remove_network("bollard-net").await;
    let _ = docker.remove_volume("bollard-volume", None::<query::RemoveVolumeOptions>).await;
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let docker = Docker::connect_with_defaults()?;
    let docker = &docker;
    let mut steps = Steps::default();
    clean(docker).await;

    steps.step("ping", async { holds(docker.ping().await? == "OK", "not OK") }).await;
    steps.step("version", async { holds(docker.version().await?.api_version.is_some(), "no version") }).await;
    steps.step("info", async { holds(docker.info().await?.id.is_some(), "no id") }).await;
    steps.step("df", async { docker.df(None).await?; Ok(()) }).await;
    steps
        .step("create", async {
            let mut body = body(&["sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.1; done"]);
            body.host_config = Some(HostConfig { memory: Some(64 << 20), init: Some(true), ..HostConfig::default() });
            create(docker, "life", body).await
        })
        .await;
    steps.step("start", async { Ok(docker.start_container("bollard-life", None).await?) }).await;
    steps
        .step("inspect", async {
            let found = docker.inspect_container("bollard-life", None).await?;
            holds(found.state.and_then(|state| state.running) == Some(true), "it does not run")
        })
        .await;
    steps
        .step("list", async {
            let filters = [("label".to_owned(), vec!["clients=bollard".to_owned()])].into();
            let options = query::ListContainersOptions { all: true, filters: Some(filters), ..Default::default() };
            holds(docker.list_containers(Some(options)).await?.len() == 1, "not one")
        })
        .await;
    steps.step("top", async { holds(docker.top_processes("bollard-life", None).await?.processes.is_some(), "none") }).await;
    steps
        .step("stats", async {
            let options = query::StatsOptionsBuilder::default().stream(false).build();
            let stats = docker.stats("bollard-life", Some(options)).next().await.ok_or("no stats")??;
            holds(stats.memory_stats.is_some(), "no memory")
        })
        .await;
    steps
        .step("exec", async {
            let said = exec(docker, "bollard-life", &["sh", "-c", "echo out; echo err >&2; exit 4"]).await?;
            holds(said.0.contains("out\n") && said.0.contains("err\n") && said.1 == 4, &format!("{said:?}"))
        })
        .await;
    steps.step("pause", async { Ok(docker.pause_container("bollard-life").await?) }).await;
    steps.step("unpause", async { Ok(docker.unpause_container("bollard-life").await?) }).await;
    steps
        .step("update", async {
            let limits = ContainerUpdateBody { memory: Some(128 << 20), memory_swap: Some(256 << 20), ..Default::default() };
            Ok(docker.update_container("bollard-life", limits).await?)
        })
        .await;
    steps
        .step("rename", async {
            let options = query::RenameContainerOptionsBuilder::default().name("bollard-other").build();
            Ok(docker.rename_container("bollard-life", options).await?)
        })
        .await;
    steps
        .step("kill and wait", async {
            let mut waiting = Box::pin(docker.wait_container("bollard-other", None));
            let options = query::KillContainerOptionsBuilder::default().signal("SIGTERM").build();
            docker.kill_container("bollard-other", Some(options)).await?;
            match waiting.next().await.ok_or("no answer")? {
                Ok(end) => holds(end.status_code == 7, "another status"),
                Err(bollard::errors::Error::DockerContainerWaitError { code: 7, .. }) => Ok(()),
                Err(error) => Err(error.into()),
            }
        })
        .await;
    steps.step("restart", async { Ok(docker.restart_container("bollard-other", None).await?) }).await;
    steps
        .step("stop", async {
            let options = query::StopContainerOptionsBuilder::default().t(2).build();
            Ok(docker.stop_container("bollard-other", Some(options)).await?)
        })
        .await;
    steps.step("changes", async { docker.container_changes("bollard-other").await?; Ok(()) }).await;
    steps
        .step("archive", async {
            let options = query::DownloadFromContainerOptionsBuilder::default().path("/etc/passwd").build();
            let mut tar = Box::pin(docker.download_from_container("bollard-other", Some(options)));
            let first = tar.next().await.ok_or("nothing")??;
            holds(first.starts_with(b"passwd"), "another archive")
        })
        .await;
    steps.step("no such container", async { refused(docker.inspect_container("no-such", None).await, 404) }).await;
    steps
        .step("logs", async {
            create(docker, "logs", body(&["sh", "-c", "echo one; echo two >&2; sleep 0.2; echo three"])).await?;
            docker.start_container("bollard-logs", None).await?;
            let options = query::LogsOptionsBuilder::default().follow(true).stdout(true).stderr(true).build();
            let mut lines = Box::pin(docker.logs("bollard-logs", Some(options)));
            let (mut out, mut err) = (String::new(), String::new());
            while let Some(piece) = lines.next().await {
                match piece? {
                    LogOutput::StdErr { message } => err += &String::from_utf8_lossy(&message),
                    other => out += &other.to_string(),
                }
            }
            holds(out == "one\nthree\n" && err == "two\n", &format!("{out:?} {err:?}"))
        })
        .await;
    steps
        .step("network", async {
            let request = NetworkCreateRequest { name: "bollard-net".to_owned(), ..Default::default() };
            docker.create_network(request).await?;
            create(docker, "peer", body(&["sleep", "100"])).await?;
            docker.start_container("bollard-peer", None).await?;
            let join = NetworkConnectRequest { container: "bollard-peer".to_owned(), ..Default::default() };
            docker.connect_network("bollard-net", join).await?;
            let found = docker.inspect_network("bollard-net", None).await?;
            holds(found.containers.is_some_and(|members| members.len() == 1), "not one member")?;
            refused(docker.remove_network("bollard-net").await, 403)?;
            let leave = NetworkDisconnectRequest { container: "bollard-peer".to_owned(), force: Some(true) };
            docker.disconnect_network("bollard-net", leave).await?;
            Ok(docker.remove_network("bollard-net").await?)
        })
        .await;
    steps.step("networks", async { holds(!docker.list_networks(None).await?.is_empty(), "none") }).await;
    steps
        .step("volume", async {
            let request = VolumeCreateRequest { name: Some("bollard-volume".to_owned()), ..Default::default() };
            docker.create_volume(request).await?;
            docker.inspect_volume("bollard-volume").await?;
            holds(docker.list_volumes(None::<query::ListVolumesOptions>).await?.volumes.is_some(), "none")?;
            Ok(docker.remove_volume("bollard-volume", None::<query::RemoveVolumeOptions>).await?)
        })
        .await;
    steps
        .step("images", async {
            holds(!docker.list_images(None::<query::ListImagesOptions>).await?.is_empty(), "none")?;
            docker.inspect_image("busybox").await?;
            holds(!docker.image_history("busybox").await?.is_empty(), "no history")
        })
        .await;
    steps
        .step("tag and untag", async {
            let options = query::TagImageOptionsBuilder::default().repo("bollard-tag").tag("1").build();
            docker.tag_image("busybox", Some(options)).await?;
            let removed = docker.remove_image("bollard-tag:1", None::<query::RemoveImageOptions>, None).await?;
            holds(removed.len() == 1, "not one")
        })
        .await;
    steps.step("no such image", async { refused(docker.inspect_image("no-such-image").await, 404) }).await;
    steps
        .step("save", async {
            let mut tar = Box::pin(docker.export_image("busybox"));
            let mut size = 0;
            while let Some(piece) = tar.next().await {
                size += piece?.len();
            }
            holds(size > 100_000, "too short")
        })
        .await;
    steps
        .step("events of the past", async {
            let options = query::EventsOptionsBuilder::default().since("1").until("2").build();
            let mut events = Box::pin(docker.events(Some(options)));
            while let Some(event) = events.next().await {
                event?;
            }
            Ok(())
        })
        .await;
    steps
        .step("prune", async {
            let filters: std::collections::HashMap<String, Vec<String>> = [("label".to_owned(), vec!["clients=bollard".to_owned()])].into();
            let options = query::PruneContainersOptionsBuilder::default().filters(&filters).build();
            docker.prune_containers(Some(options)).await?;
            Ok(())
        })
        .await;
    clean(docker).await;
    println!("{} of {}", steps.passed, steps.made);
    std::process::exit(i32::from(steps.passed != steps.made));
}
