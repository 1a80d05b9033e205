//! Further programs in running containers.

use crate::document::document;

document! {
/// The body of `POST /containers/{id}/exec`.
pub struct CreateRequest {
    /// As [`crate::container::ContainerConfig::user`]; empty: the container's.
    user: String = "User",
    /// Whether it has all of the host's powers.
    privileged: bool = "Privileged",
    /// Whether it gets a terminal.
    tty: bool = "Tty",
    /// Rows and columns of the terminal.
    console_size: Option<[u32; 2]> = omitempty "ConsoleSize",
    /// Whether the client sends input.
    attach_stdin: bool = "AttachStdin",
    /// Whether the client wants stderr.
    attach_stderr: bool = "AttachStderr",
    /// Whether the client wants stdout.
    attach_stdout: bool = "AttachStdout",
    /// Obsolete; see the start request.
    detach: bool = omitempty "Detach",
    /// Keys that end the attachment; empty: the default.
    detach_keys: String = "DetachKeys",
    /// Further `NAME=value` entries.
    env: Option<Vec<String>> = "Env",
    /// Working directory; empty: the container's.
    working_dir: String = "WorkingDir",
    /// The program and its arguments.
    cmd: Option<Vec<String>> = "Cmd" via "crate::null::words",
}
}

document! {
/// The answer to a create.
pub struct CreateResponse {
    /// Full ID of the exec.
    id: String = "Id",
}
}

document! {
/// The body of `POST /exec/{id}/start`.
pub struct StartRequest {
    /// Whether nobody is attached.
    detach: bool = "Detach",
    /// Whether the streams are a terminal's.
    tty: bool = "Tty",
    /// Rows and columns of the terminal.
    console_size: Option<[u32; 2]> = omitempty "ConsoleSize",
}
}

document! {
/// Everything about one exec.
pub struct Inspect {
    /// Full ID.
    id: String = "ID",
    /// Whether its program runs.
    running: bool = "Running",
    /// Its exit code once it has ended.
    exit_code: Option<i64> = "ExitCode",
    /// What runs.
    process_config: ProcessConfig = "ProcessConfig",
    /// Whether the client sends input.
    open_stdin: bool = "OpenStdin",
    /// Whether the client wants stderr.
    open_stderr: bool = "OpenStderr",
    /// Whether the client wants stdout.
    open_stdout: bool = "OpenStdout",
    /// Internal.
    can_remove: bool = "CanRemove",
    /// Full ID of the container.
    container_id: String = "ContainerID",
    /// Base64 of the keys that end the attachment.
    detach_keys: String = "DetachKeys",
    /// The process as the host sees it; 0: not started.
    pid: i32 = "Pid",
}
}

document! {
/// What an exec runs.
pub struct ProcessConfig {
    /// Whether it has a terminal.
    tty: bool = "tty",
    /// The program.
    entrypoint: String = "entrypoint",
    /// Its arguments.
    arguments: Vec<String> = "arguments",
    /// Whether it has all of the host's powers.
    privileged: Option<bool> = omitempty "privileged",
    /// As asked for.
    user: String = omitempty "user",
}
}
