//! `Sysctls`: only those that belong to a namespace of the container; all others are the whole machine's.

use crate::error::{EngineError, Result};
use corten_api::container::HostConfig;

/// Of the IPC namespace, beside everything below `fs/mqueue`.
const IPC: [&str; 8] = ["msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced"];

/// Refuses kernel parameters that are not the container's own, in runc's words.
pub(crate) fn check(host: &HostConfig) -> Result<()> {
    for name in host.sysctls.keys() {
        // As the runtime reads a name: with slashes in it, it is a path.
        let path = if name.contains('/') { name.clone() } else { name.replace('.', "/") };
        let refuse = |why: &str| Err(EngineError::invalid(format!("sysctl {name:?} {why}")));
        if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return refuse("is no name of a kernel parameter");
        }
        if path.starts_with("net/") {
            if host.network_mode == "host" {
                return refuse("not allowed in host network namespace");
            }
        } else if path.starts_with("fs/mqueue/")
            || path.strip_prefix("kernel/").is_some_and(|name| IPC.contains(&name))
        {
            if host.ipc_mode == "host" {
                return refuse("is not allowed in the hosts ipc namespace");
            }
        } else if path == "kernel/domainname" {
            if host.uts_mode == "host" {
                return refuse("is not allowed in the hosts uts namespace");
            }
        } else {
            return refuse("is not in a separate kernel namespace");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn checked(name: &str, namespaces: &str) -> Result<()> {
        check(&HostConfig {
            sysctls: [(name.to_owned(), "1".to_owned())].into(),
            network_mode: namespaces.to_owned(),
            ipc_mode: namespaces.to_owned(),
            uts_mode: namespaces.to_owned(),
            ..HostConfig::default()
        })
    }

    #[test]
    fn only_what_is_the_containers_own() {
        for name in
            ["net.ipv4.ip_forward", "net/ipv4/conf/eth0.1/forwarding", "kernel.shmmax", "fs.mqueue.msg_max"]
        {
            checked(name, "").unwrap();
            checked(name, "host").unwrap_err();
        }
        checked("kernel.domainname", "").unwrap();
        for name in [
            "kernel.core_pattern",
            "vm.swappiness",
            "kernel/shmmax/../core_pattern",
            "net/../kernel/core_pattern",
            "net./kernel",
            "net",
            "fs.suid_dumpable",
            "kernel.hostname",
        ] {
            checked(name, "").unwrap_err();
        }
    }
}
