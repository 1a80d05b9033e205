//! Which runtime makes a container: our own, or another OCI runtime's program that the daemon was told of.

use crate::container::record::Record;
use crate::container::spec::security::{Seccomp, settle};
use crate::defaults::Reloadable;
use crate::engine::EngineInner;
use crate::error::{EngineError, Result};
use corten_api::system::Runtime;
use corten_oci::runtime::Spec;
use corten_runtime::seccomp::{ResolveContext, default_profile};
use corten_shim::protocol::{BUNDLE_NAME, ForeignRuntime, RUNTIME_STATE_NAME};
use rustix::fs::{Mode, OFlags};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long a program may take to forget a container; then it is killed. The hooks that it runs have times of their own.
const PATIENCE: Duration = Duration::from_mins(2);

/// Names of our own runtime: Docker's for its default among them, so that what was written for Docker runs.
const OWN: [&str; 3] = ["corten", "runc", "io.containerd.runc.v2"];

/// Another OCI runtime, with runc's commands and flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeProgram {
    /// Absolute path.
    pub path: PathBuf,
    /// Arguments before its own.
    pub arguments: Vec<String>,
}

/// Whether a name is of our own runtime, and so none that another can have.
pub fn is_own(name: &str) -> bool {
    OWN.contains(&name)
}

/// The name is of a runtime that there is; none is the default.
pub(crate) fn check(settings: &Reloadable, name: &str) -> Result<()> {
    if name.is_empty() || is_own(name) || settings.runtimes.contains_key(name) {
        return Ok(());
    }
    Err(EngineError::invalid(format!("unknown or invalid runtime name: {name}")))
}

/// The program that makes the container; none is our own runtime.
pub(crate) fn foreign(settings: &Reloadable, record: &Record) -> Result<Option<ForeignRuntime>> {
    let name = record.host_config.runtime.as_str();
    check(settings, name)?;
    Ok(settings.runtimes.get(name).map(|program| ForeignRuntime {
        program: program.path.clone(),
        arguments: program.arguments.clone(),
    }))
}

/// Our own runtime as a program of its own, for what needs the host's files beside the container: programs of the host
/// that run at points of its life (hooks).
pub(crate) fn own_alone(program: &Path) -> ForeignRuntime {
    ForeignRuntime { program: program.to_owned(), arguments: vec!["oci".to_owned()] }
}

/// Has the program that made a container forget it, where the container's shim died before it could: what is left of the container is
/// killed, and the hooks of its end run, once. Nothing where no program made it. Blocking.
pub(crate) fn forget(engine: &EngineInner, record: &Record) -> Result<()> {
    let run_dir = engine.settings.paths.running_container(&record.id);
    let state = run_dir.join(RUNTIME_STATE_NAME);
    if !state.join(&record.id).is_dir() {
        return Ok(());
    }
    let runtime = foreign(&engine.reloadable(), record)?;
    let runtime = runtime.unwrap_or_else(|| own_alone(&engine.settings.program));
    let mut command = Command::new(&runtime.program);
    command.args(&runtime.arguments).arg("--root").arg(&state).args(["delete", "--force", &record.id]);
    command.current_dir(run_dir.join(BUNDLE_NAME));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let name = runtime.program.display();
    let status = run_to_its_end(&mut command)
        .map_err(|error| EngineError::from_error(&format!("running {name} delete"), error))?;
    if status.success() {
        return Ok(());
    }
    Err(EngineError::system(format!("{name} delete ended with {status}")))
}

/// Runs a program for no longer than [`PATIENCE`].
fn run_to_its_end(command: &mut Command) -> std::io::Result<ExitStatus> {
    let begun = Instant::now();
    let mut child = command.spawn()?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if begun.elapsed() > PATIENCE {
            child.kill()?;
            return child.wait();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Puts into the document what another runtime reads there and ours has by other ways.
pub(crate) fn complete(
    spec: &mut Spec,
    record: &Record,
    default: &Seccomp,
    cgroups_path: Option<PathBuf>,
) -> Result<()> {
    let host = &record.host_config;
    let which = settle(host.security_opt.as_deref().unwrap_or_default(), host.privileged)?;
    let which = which.seccomp.unwrap_or_else(|| default.clone());
    let capabilities = spec.process.as_ref().and_then(|process| process.capabilities.as_ref());
    let capabilities = capabilities.map(|sets| sets.bounding.clone()).unwrap_or_default();
    let context = ResolveContext::of_this_machine(&capabilities);
    let seccomp = match which {
        Seccomp::Unconfined => None,
        Seccomp::Default => Some(default_profile().resolve(&context)),
        Seccomp::Profile(profile) => Some(profile.resolve(&context)),
    };
    if let Some(linux) = &mut spec.linux {
        linux.seccomp = seccomp;
        linux.cgroups_path = cgroups_path.map(|path| path.to_string_lossy().into_owned());
    }
    Ok(())
}

/// Where the program is to be run: our mount namespace, which is the host's, and our root there.
pub(crate) fn host_view() -> Result<(OwnedFd, OwnedFd)> {
    let open = |path: &str, flags: OFlags| {
        rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty()).map_err(|error| {
            EngineError::from_error("opening the host's mount namespace", std::io::Error::from(error))
        })
    };
    Ok((open("/proc/self/ns/mnt", OFlags::RDONLY)?, open("/", OFlags::PATH | OFlags::DIRECTORY)?))
}

/// All of them, as `info` tells them.
pub(crate) fn listed(settings: &Reloadable) -> BTreeMap<String, Runtime> {
    let own = ("corten".to_owned(), Runtime { path: "corten".to_owned(), ..Runtime::default() });
    let others = settings.runtimes.iter().map(|(name, program)| {
        let path = program.path.display().to_string();
        (name.clone(), Runtime { path, runtime_args: program.arguments.clone(), ..Runtime::default() })
    });
    std::iter::once(own).chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_runtimes_that_are_there_are_taken() {
        let mut settings = Reloadable::default();
        settings.runtimes.insert(
            "crun".to_owned(),
            RuntimeProgram { path: "/usr/bin/crun".into(), arguments: vec!["--debug".to_owned()] },
        );
        for name in ["", "runc", "corten", "io.containerd.runc.v2", "crun"] {
            check(&settings, name).unwrap();
        }
        let error = check(&settings, "nope").unwrap_err();
        assert_eq!(error.to_string(), "unknown or invalid runtime name: nope");
        assert_eq!(listed(&settings)["crun"].path, "/usr/bin/crun");
    }
}
