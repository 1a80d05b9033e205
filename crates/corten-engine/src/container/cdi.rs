//! Devices named by their vendor (CDI, the Container Device Interface): files in `/etc/cdi` and `/var/run/cdi` tell what a
//! name like `vendor.com/class=name` adds to a container. `--gpus` asks for names of the vendor `nvidia.com`.
//!
//! The files are the administrator's, but what stands in them may be wrong: each is checked whole before a name of it
//! counts, and one that is wrong is passed over with a warning in the log.

mod file;

use self::file::{Device, Document, Edits, Found, Node, is_bind, place, read_all};
use crate::container::spec::devices;
use crate::error::{EngineError, Result};
use corten_api::container::{DeviceRequest, HostConfig};
use corten_oci::runtime::{Hook, Hooks, LinuxDevice, LinuxDeviceCgroup, Mount, Spec};
use std::path::{Path, PathBuf};

/// Where the files are unless the daemon is told otherwise; what a later folder says goes before what an earlier one says.
pub(crate) const FOLDERS: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];

/// The names that `--gpus` stands for.
const GPU: &str = "nvidia.com/gpu";

/// Adds what a container asks for by name to its document.
pub(super) fn inject(spec: &mut Spec, host: &HostConfig, folders: &[PathBuf]) -> Result<()> {
    let mut names = Vec::new();
    for request in host.device_requests.iter().flatten() {
        names.extend(names_of(request)?.into_iter().map(|name| (name, request)));
    }
    if names.is_empty() {
        return Ok(());
    }
    let documents = read_all(folders);
    let mut unknown = Vec::new();
    let mut edits: Vec<&Edits> = Vec::new();
    for (name, request) in &names {
        match find(&documents, name) {
            Some((document, device)) => {
                // What all devices of a file have in common is added once.
                if !edits.iter().any(|one| std::ptr::eq(*one, &raw const document.container_edits)) {
                    edits.push(&document.container_edits);
                }
                edits.push(&device.container_edits);
            }
            None if request.driver == "cdi" => unknown.push(name.as_str()),
            None => return Err(no_driver(request, Some((name, folders)))),
        }
    }
    if !unknown.is_empty() {
        return Err(EngineError::invalid(format!(
            "CDI device injection failed: unresolvable CDI devices {}",
            unknown.join(", ")
        ))
        .with_hint(format!("files that name devices are looked for in {}", words(folders, " and "))));
    }
    edits.into_iter().try_for_each(|edits| apply(spec, edits))
}

/// The names that a request stands for.
fn names_of(request: &DeviceRequest) -> Result<Vec<String>> {
    let ids = request.device_ids.clone().unwrap_or_default();
    if request.driver == "cdi" {
        return Ok(ids);
    }
    let capable = request.capabilities.iter().flatten().any(|all| all.iter().any(|one| one == "gpu"));
    if !capable || !matches!(request.driver.as_str(), "" | "nvidia") {
        return Err(no_driver(request, None));
    }
    Ok(match (ids.is_empty(), request.count) {
        (false, _) => ids.iter().map(|id| format!("{GPU}={id}")).collect(),
        (true, count) if count < 0 => vec![format!("{GPU}=all")],
        // A machine has fewer; a number beyond that is not there.
        (true, count) => (0..count.min(1024)).map(|number| format!("{GPU}={number}")).collect(),
    })
}

fn no_driver(request: &DeviceRequest, name: Option<(&str, &[PathBuf])>) -> EngineError {
    let capabilities = request.capabilities.iter().flatten().map(|all| format!("[{}]", all.join(" ")));
    let error = EngineError::system(format!(
        "could not select device driver \"{}\" with capabilities: [{}]",
        request.driver,
        capabilities.collect::<Vec<_>>().join(" ")
    ));
    match name {
        Some((name, folders)) => error.with_hint(format!(
            "no file in {} names the device {name}; `nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml` writes one",
            words(folders, " or ")
        )),
        None => error,
    }
}

fn words(folders: &[PathBuf], between: &str) -> String {
    folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(between)
}

/// The device of a full name: that of the folder that counts most. Where two files there name it, none does.
fn find<'found>(all: &'found [Found], name: &str) -> Option<(&'found Document, &'found Device)> {
    let (kind, device) = name.split_once('=')?;
    let of_kind = all.iter().filter(|found| found.document.kind == kind);
    let named: Vec<(&Found, &Device)> = of_kind
        .filter_map(|found| Some((found, found.document.devices.iter().find(|one| one.name == device)?)))
        .collect();
    let best = named.iter().map(|(found, _)| found.rank).max()?;
    let mut best = named.into_iter().filter(|(found, _)| found.rank == best);
    let (found, device) = best.next()?;
    if let Some((other, _)) = best.next() {
        tracing::warn!(
            name,
            first = %found.path.display(),
            second = %other.path.display(),
            "two CDI files of one folder name the same device, so none does"
        );
        return None;
    }
    Some((&found.document, device))
}

fn apply(spec: &mut Spec, edits: &Edits) -> Result<()> {
    if let Some(process) = &mut spec.process {
        super::spec::replace_variables(&mut process.env, &edits.env);
        for gid in edits.additional_gids.iter().filter(|gid| **gid != 0) {
            if !process.user.additional_gids.contains(gid) {
                process.user.additional_gids.push(*gid);
            }
        }
    }
    for node in &edits.device_nodes {
        let (device, rule) = node_of(node)?;
        let linux = spec.linux.get_or_insert_default();
        linux.devices.retain(|other| other.path != device.path);
        linux.devices.push(device);
        linux.resources.get_or_insert_default().devices.extend(rule);
    }
    for mount in &edits.mounts {
        spec.mounts.retain(|other| other.destination != mount.container_path);
        let bind = is_bind(mount);
        spec.mounts.push(Mount {
            destination: mount.container_path.clone(),
            kind: Some(if bind { "bind".to_owned() } else { mount.kind.clone() }),
            source: Some(mount.host_path.clone()),
            options: mount.options.clone(),
            ..Mount::default()
        });
    }
    if let Some(classes) = &edits.intel_rdt {
        spec.linux.get_or_insert_default().intel_rdt = Some(classes.clone());
    }
    for device in &edits.net_devices {
        let all = spec.linux.get_or_insert_default().net_devices.get_or_insert_with(|| serde_json::json!({}));
        all[&device.host_interface_name] = serde_json::json!({"name": device.name});
    }
    for hook in &edits.hooks {
        let hooks = spec.hooks.get_or_insert_default();
        if let Some(list) = place(hooks, &hook.hook_name) {
            list.push(Hook {
                path: hook.path.clone(),
                args: hook.args.clone(),
                env: hook.env.clone(),
                timeout: hook.timeout,
            });
        }
    }
    Ok(())
}

/// A node and the rule that lets the container use it; what the file leaves open is asked of the host's own node.
fn node_of(node: &Node) -> Result<(LinuxDevice, Option<LinuxDeviceCgroup>)> {
    let host = if node.host_path.is_empty() { &node.path } else { &node.host_path };
    let given = node.kind == "p" || (!node.kind.is_empty() && node.major.is_some() && node.minor.is_some());
    let mut device = if given {
        LinuxDevice {
            kind: node.kind.clone(),
            path: node.path.clone(),
            major: node.major.unwrap_or(0),
            minor: node.minor.unwrap_or(0),
            file_mode: None,
            uid: None,
            gid: None,
        }
    } else {
        devices::of_host(Path::new(host), Path::new(&node.path)).map_err(|why| {
            EngineError::invalid(format!("CDI device injection failed: the device node {host}: {why}"))
        })?
    };
    device.file_mode = node.file_mode.or(device.file_mode);
    device.uid = node.uid.or(device.uid);
    device.gid = node.gid.or(device.gid);
    let rule = matches!(device.kind.as_str(), "b" | "c" | "u").then(|| LinuxDeviceCgroup {
        allow: true,
        kind: Some(if device.kind == "b" { "b" } else { "c" }.to_owned()),
        major: Some(device.major),
        minor: Some(device.minor),
        access: Some(if node.permissions.is_empty() { "rwm".to_owned() } else { node.permissions.clone() }),
    });
    Ok((device, rule))
}

/// Whether programs of the host are to run at points of the container's life.
pub(super) fn has_hooks(spec: &Spec) -> bool {
    spec.hooks.as_ref().is_some_and(|hooks| *hooks != Hooks::default())
}

/// What a device may ask for and only other runtimes do.
pub(super) fn check_built_in(spec: &Spec) -> Result<()> {
    let Some(linux) = &spec.linux else { return Ok(()) };
    for (wanted, what) in [
        (linux.intel_rdt.is_some(), "classes of Intel's resource director (intelRdt)"),
        (linux.net_devices.is_some(), "network devices of the host (netDevices)"),
    ] {
        if wanted {
            return Err(EngineError::not_implemented(format!(
                "CDI device injection failed: a device of this container asks for {what}, which the built-in runtime does not do"
            ))
            .with_hint("choose another runtime by --runtime, as in `--runtime crun`"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"cdiVersion":"0.6.0","kind":"vendor.com/class","containerEdits":{"env":["ALL=1"]},
        "devices":[{"name":"one","containerEdits":{"env":["ONE=1"],"additionalGids":[44,0],
        "deviceNodes":[{"path":"/dev/vendor0","hostPath":"/dev/null","permissions":"rw"}],
        "mounts":[{"hostPath":"/usr","containerPath":"/vendor","options":["ro","rbind"]}]}},
        {"name":"two","containerEdits":{"hooks":[{"hookName":"createContainer","path":"/bin/true"}]}}]}"#;

    fn folder(name: &str, files: &[(&str, &str)]) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("corten-cdi-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        for (file, text) in files {
            std::fs::write(folder.join(file), text).unwrap();
        }
        folder
    }

    fn asking(ids: &[&str]) -> HostConfig {
        HostConfig {
            device_requests: Some(vec![DeviceRequest {
                driver: "cdi".to_owned(),
                device_ids: Some(ids.iter().map(|&id| id.to_owned()).collect()),
                ..DeviceRequest::default()
            }]),
            ..HostConfig::default()
        }
    }

    fn spec() -> Spec {
        Spec { process: Some(corten_oci::runtime::Process::default()), ..Spec::default() }
    }

    #[test]
    fn a_device_adds_what_its_file_says() {
        let folder = folder("good", &[("a.json", GOOD), ("b.txt", "x"), ("bad.json", "{")]);
        let folders = [folder.clone()];
        let mut spec = spec();
        inject(&mut spec, &asking(&["vendor.com/class=one"]), &folders).unwrap();
        let process = spec.process.clone().unwrap();
        assert_eq!(process.env, ["ALL=1", "ONE=1"]);
        assert_eq!(process.user.additional_gids, [44]);
        let linux = spec.linux.clone().unwrap();
        assert_eq!((linux.devices[0].path.as_str(), linux.devices[0].major), ("/dev/vendor0", 1));
        assert_eq!(linux.resources.unwrap().devices[0].access.as_deref(), Some("rw"));
        assert_eq!(
            (spec.mounts[0].destination.as_str(), spec.mounts[0].kind.as_deref()),
            ("/vendor", Some("bind"))
        );
        assert!(!has_hooks(&spec));

        inject(&mut spec, &asking(&["vendor.com/class=two"]), &folders).unwrap();
        assert!(has_hooks(&spec));
        assert_eq!(spec.hooks.clone().unwrap().create_container[0].path, "/bin/true");
        let error = inject(&mut spec, &asking(&["vendor.com/class=three", "odd"]), &folders).unwrap_err();
        assert_eq!(
            error.message(),
            "CDI device injection failed: unresolvable CDI devices vendor.com/class=three, odd"
        );
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_later_folder_counts_and_two_files_contradict() {
        let other = GOOD.replace("ALL=1", "ALL=2");
        let (low, high) = (folder("low", &[("a.json", GOOD)]), folder("high", &[("a.json", &other)]));
        let folders = [low.clone(), high.clone()];
        let mut first = spec();
        inject(&mut first, &asking(&["vendor.com/class=one"]), &folders).unwrap();
        assert_eq!(first.process.unwrap().env[0], "ALL=2");
        std::fs::write(high.join("b.json"), GOOD).unwrap();
        assert!(inject(&mut spec(), &asking(&["vendor.com/class=one"]), &folders).is_err());
        for folder in [low, high] {
            std::fs::remove_dir_all(folder).unwrap();
        }
    }

    #[test]
    fn what_only_other_runtimes_do_is_said() {
        for (edit, word) in [
            (r#""intelRdt":{"closID":"x"}"#, "intelRdt"),
            (r#""netDevices":[{"hostInterfaceName":"eth7","name":"eth0"}]"#, "netDevices"),
        ] {
            let text = GOOD.replacen(r#""additionalGids":[44,0]"#, edit, 1);
            let folder = folder(word, &[("a.json", &text)]);
            let mut spec = spec();
            inject(&mut spec, &asking(&["vendor.com/class=one"]), std::slice::from_ref(&folder)).unwrap();
            let error = check_built_in(&spec).unwrap_err();
            assert!(error.message().contains(word), "{error}");
            let linux = spec.linux.unwrap();
            assert!(
                linux.intel_rdt.is_some_and(|classes| classes["closID"] == "x")
                    || linux.net_devices.is_some_and(|all| all["eth7"]["name"] == "eth0")
            );
            std::fs::remove_dir_all(folder).unwrap();
        }
        check_built_in(&spec()).unwrap();
    }

    #[test]
    fn graphics_processors_are_names_of_one_vendor() {
        let request = |count, ids: &[&str]| DeviceRequest {
            count,
            device_ids: (!ids.is_empty()).then(|| ids.iter().map(|&id| id.to_owned()).collect()),
            capabilities: Some(vec![vec!["gpu".to_owned()]]),
            ..DeviceRequest::default()
        };
        assert_eq!(names_of(&request(-1, &[])).unwrap(), ["nvidia.com/gpu=all"]);
        assert_eq!(names_of(&request(2, &[])).unwrap(), ["nvidia.com/gpu=0", "nvidia.com/gpu=1"]);
        assert_eq!(names_of(&request(0, &["7"])).unwrap(), ["nvidia.com/gpu=7"]);
        let host = HostConfig { device_requests: Some(vec![request(-1, &[])]), ..HostConfig::default() };
        let error = inject(&mut spec(), &host, &["/no/such/folder".into()]).unwrap_err();
        assert_eq!(error.message(), "could not select device driver \"\" with capabilities: [[gpu]]");
        let other = DeviceRequest { driver: "odd".to_owned(), ..request(1, &[]) };
        assert!(names_of(&other).is_err());
    }
}
