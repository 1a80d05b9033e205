//! What an exec runs, and as whom.

use crate::container::handle::View;
use crate::container::spec::{environment, replace_variables};
use crate::error::{EngineError, Result};
use corten_api::exec::CreateRequest;
use corten_oci::runtime::{LinuxCapabilities, Process, User};
use std::os::fd::AsFd;

/// Whether the container lists whom an exec names: told before there is an exec, as Docker does it. Where its files are
/// out of reach – it ends right now – the start will tell.
pub(super) fn check_user(view: &View, user: String) -> Result<()> {
    let Some(root) = crate::archive::process_root(view.life.pid, &view.record.id) else { return Ok(()) };
    let wanted = User { username: Some(user), ..User::default() };
    corten_runtime::user::resolve_in(root.as_fd(), &wanted)
        .map(drop)
        .map_err(|error| EngineError::invalid(error.to_string()))
}

/// What runs: the container's environment, folder and user where the request says nothing.
pub(super) fn process(
    view: &View,
    config: &CreateRequest,
    console_size: Option<[u32; 2]>,
    links: &[String],
    labels: bool,
) -> Process {
    let record = &view.record;
    let host = &record.host_config;
    let mut env = environment(record, links);
    env.retain(|entry| {
        !entry.starts_with("TERM=") || record.config.env.iter().flatten().any(|given| given == entry)
    });
    if config.tty && !env.iter().any(|entry| entry.starts_with("TERM=")) {
        env.push("TERM=xterm".to_owned());
    }
    replace_variables(&mut env, config.env.as_deref().unwrap_or_default());
    let or = |mine: &str, default: &str| if mine.is_empty() { default.to_owned() } else { mine.to_owned() };
    let user = or(&config.user, &record.config.user);
    let capabilities = if config.privileged || host.privileged {
        corten_sys::capability::of_kernel().names().collect()
    } else {
        crate::container::spec::capabilities(
            host.cap_add.as_deref().unwrap_or_default(),
            host.cap_drop.as_deref().unwrap_or_default(),
        )
    };
    // It was read when the container was made.
    let security = crate::container::spec::security::settle(
        host.security_opt.as_deref().unwrap_or_default(),
        host.privileged,
    )
    .unwrap_or_default();
    let apparmor = security.apparmor_profile().filter(|_| !config.privileged);
    let mut groups = User { username: Some(user), ..User::default() };
    for group in host.group_add.iter().flatten() {
        match group.parse::<u32>() {
            Ok(number) => groups.additional_gids.push(number),
            Err(_) => groups.additional_group_names.push(group.clone()),
        }
    }
    Process {
        terminal: config.tty,
        console_size: console_size.filter(|size| *size != [0, 0]).map(|[height, width]| {
            corten_oci::runtime::ConsoleSize { height: height as u16, width: width as u16 }
        }),
        user: groups,
        args: config.cmd.clone().unwrap_or_default(),
        env,
        cwd: or(&or(&config.working_dir, &record.config.working_dir), "/"),
        capabilities: Some(LinuxCapabilities {
            bounding: capabilities.clone(),
            effective: capabilities.clone(),
            permitted: capabilities,
            ..LinuxCapabilities::default()
        }),
        rlimits: crate::container::spec::limits::rlimits(host.ulimits.as_deref().unwrap_or_default()),
        no_new_privileges: security.no_new_privileges,
        apparmor_profile: crate::container::apparmor::prepare(apparmor),
        oom_score_adj: Some(host.oom_score_adj),
        selinux_label: record.process_label().filter(|_| labels),
        ..Process::default()
    }
}
