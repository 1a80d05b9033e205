//! The working folder, and which file a command is. Texts are those of Go's `exec.LookPath`, which Docker
//! shows.

use std::io;
use std::path::Path;

use corten_oci::runtime::Process;
use rustix::fs::{Access, AtFlags, CWD, FileType};
use rustix::io::Errno;

use super::{Result, invalid, working_directory};
use crate::error::{Context, LaunchError, LaunchErrorKind, Stage, reason};
use crate::hardening::{Hardening, HardeningStep};

/// Goes to the working folder and makes sure that it is one of the container's: a folder of the host would be
/// reachable from it for ever (CVE-2024-21626).
pub(super) fn enter_working_directory(cwd: &str, hardening: &Hardening) -> Result<()> {
    if !cwd.starts_with('/') {
        return Err(working_directory(invalid("Cwd must be an absolute path")));
    }
    rustix::process::chdir(cwd)
        .at(Stage::Execute, format_args!("chdir to cwd ({cwd:?}) set in config.json failed"))
        .map_err(working_directory)?;
    if hardening.has(HardeningStep::CheckedWorkingDirectory) {
        // The kernel marks a folder outside of our root.
        let inside = rustix::process::getcwd(Vec::new()).is_ok_and(|path| path.as_bytes().starts_with(b"/"));
        if !inside {
            return Err(working_directory(invalid(
                "current working directory is outside of container mount namespace root -- possible container \
                 breakout detected",
            )));
        }
    }
    Ok(())
}

/// The path to execute for the first argument.
pub(super) fn look_up(process: &Process) -> Result<String> {
    let name = process.args.first().ok_or_else(|| invalid("no command specified"))?;
    if name.contains('/') {
        return match executable(Path::new(name)) {
            Ok(()) => Ok(name.clone()),
            Err(error) => Err(refused(name, &error)),
        };
    }
    let path = process.env.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or("");
    for folder in path.split(':').filter(|_| !name.is_empty()) {
        let folder = if folder.is_empty() { "." } else { folder };
        let file = format!("{}/{name}", folder.trim_end_matches('/'));
        if executable(Path::new(&file)).is_ok() {
            if !file.starts_with('/') {
                return Err(LaunchError::new(
                    Stage::Execute,
                    LaunchErrorKind::NotExecutable,
                    format!("exec: {name:?}: cannot run executable found relative to current directory"),
                ));
            }
            return Ok(file);
        }
    }
    Err(LaunchError::new(
        Stage::Execute,
        LaunchErrorKind::CommandNotFound,
        format!("exec: {name:?}: executable file not found in $PATH"),
    ))
}

fn refused(name: &str, error: &io::Error) -> LaunchError {
    let (kind, text) = match Errno::from_io_error(error) {
        Some(Errno::NOENT) => (LaunchErrorKind::CommandNotFound, format!("stat {name}: {}", reason(error))),
        Some(Errno::NOTDIR) => (LaunchErrorKind::NotExecutable, format!("stat {name}: {}", reason(error))),
        Some(Errno::ISDIR) => {
            (LaunchErrorKind::NotExecutable, format!("{}: {}", reason(error), reason(&Errno::ACCESS.into())))
        }
        _ => (LaunchErrorKind::NotExecutable, reason(error)),
    };
    LaunchError::new(Stage::Execute, kind, format!("exec: {name:?}: {text}"))
}

/// Whether we, as whom we are now, may execute a file.
fn executable(path: &Path) -> io::Result<()> {
    let stat = rustix::fs::stat(path)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Err(Errno::ISDIR.into());
    }
    match rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS) {
        // Not there, or kept back by a filter: the bits have to do.
        Err(Errno::NOSYS | Errno::PERM) if stat.st_mode & 0o111 != 0 => Ok(()),
        Err(Errno::NOSYS | Errno::PERM) => Err(Errno::ACCESS.into()),
        result => Ok(result?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(command: &str, path: &str, kind: LaunchErrorKind, text: &str) {
        let process =
            Process { args: vec![command.into()], env: vec![format!("PATH={path}")], ..Process::default() };
        let error = look_up(&process).unwrap_err();
        assert_eq!((error.kind, error.message.as_str()), (kind, text));
    }

    #[test]
    fn errors_are_dockers() {
        check(
            "no-such-command",
            "/bin:/usr/bin",
            LaunchErrorKind::CommandNotFound,
            "exec: \"no-such-command\": executable file not found in $PATH",
        );
        check(
            "/no/such",
            "/bin",
            LaunchErrorKind::CommandNotFound,
            "exec: \"/no/such\": stat /no/such: no such file or directory",
        );
        check("/etc/passwd", "", LaunchErrorKind::NotExecutable, "exec: \"/etc/passwd\": permission denied");
        check(
            "/etc",
            "",
            LaunchErrorKind::NotExecutable,
            "exec: \"/etc\": is a directory: permission denied",
        );
    }

    #[test]
    fn the_path_is_searched_in_order() {
        let process = Process {
            args: vec!["sh".into()],
            env: vec!["PATH=/nowhere:/bin/:/usr/bin".into()],
            ..Process::default()
        };
        assert_eq!(look_up(&process).unwrap(), "/bin/sh");
    }
}
