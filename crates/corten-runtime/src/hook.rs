//! Hooks: programs that a runtime document names for points of a container's life.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use corten_oci::runtime::Hook;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::MemfdFlags;

/// No more of a hook's output is told, in bytes.
const LONGEST_OUTPUT: u64 = 4096;

/// A hook that failed; the rest of its list was not run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("error running {kind} hook #{index}: {reason}")]
pub struct HookError {
    /// As the document names the list.
    pub kind: &'static str,
    /// Its place in the list.
    pub index: usize,
    /// Exit, timeout, or why it could not be run; with what it wrote.
    pub reason: String,
}

/// Runs a list of hooks in its order, each with the container's state on its standard input, until one fails.
/// They see nothing of this process's environment and descriptors.
///
/// The caller has one thread.
pub fn run_hooks(kind: &'static str, hooks: &[Hook], state: &[u8]) -> Result<(), HookError> {
    hooks
        .iter()
        .enumerate()
        .try_for_each(|(index, hook)| run(hook, state).map_err(|reason| HookError { kind, index, reason }))
}

fn run(hook: &Hook, state: &[u8]) -> Result<(), String> {
    // Files in memory: nobody waits for anybody, whatever the hook reads or writes.
    let open = |error: io::Error| format!("make a file in memory: {}", crate::error::reason(&error));
    let mut input = memory_file().map_err(open)?;
    input.write_all(state).and_then(|()| input.rewind()).map_err(open)?;
    let output = memory_file().map_err(open)?;
    let errors = memory_file().map_err(open)?;
    let copy = |file: &File| file.try_clone().map(Stdio::from).map_err(open);

    let mut command = Command::new(&hook.path);
    command.env_clear().stdin(Stdio::from(input)).stdout(copy(&output)?).stderr(copy(&errors)?);
    if let Some((name, rest)) = hook.args.split_first() {
        command.arg0(name).args(rest);
    }
    for entry in &hook.env {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        command.env(name, value);
    }
    let mut child =
        command.spawn().map_err(|error| format!("exec {}: {}", hook.path, crate::error::reason(&error)))?;
    let ended = match hook.timeout.filter(|seconds| *seconds > 0) {
        None => child.wait().map(Some),
        Some(seconds) => {
            let deadline = Instant::now() + Duration::from_secs(seconds as u64);
            wait_until(&mut child, deadline)
        }
    };
    let told = |text: String| {
        let (output, errors) = (written(output), written(errors));
        format!("{text}, stdout: {output}, stderr: {errors}")
    };
    match ended {
        Ok(Some(status)) if status.success() => Ok(()),
        Ok(Some(status)) => Err(told(describe(status))),
        Ok(None) => {
            let _ = child.kill();
            let _ = child.wait();
            Err(told(format!("hook ran past specified timeout of {}s", hook.timeout.unwrap_or_default())))
        }
        Err(error) => Err(format!("wait for {}: {}", hook.path, crate::error::reason(&error))),
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// Waits for a child no longer than until then.
fn wait_until(child: &mut std::process::Child, deadline: Instant) -> io::Result<Option<ExitStatus>> {
    let handle = corten_sys::process::pidfd_open(child.id() as i32)?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        match poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&left)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn memory_file() -> io::Result<File> {
    Ok(File::from(rustix::fs::memfd_create("corten-hook", MemfdFlags::CLOEXEC)?))
}

/// What was written, on one line.
fn written(mut file: File) -> String {
    let mut bytes = Vec::new();
    let _ = file.rewind().and_then(|()| file.take(LONGEST_OUTPUT).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).trim().replace('\n', "; ")
}
