//! The program of the embedded `hello-world` image: this same file, called `/hello`.

use std::io::Write;
use std::process::ExitCode;

const TEXT: &str = "
Hello from Corten!
This text was printed by a container. To get here,
 1. the client asked the daemon for a container of the image `hello-world`,
 2. the daemon made the image from its own program, and a writable layer upon it,
 3. a shim was forked that started this program in namespaces of its own,
 4. and what it prints came straight from the shim to your terminal.

Try a shell in a throw-away copy of this machine:
 corten run --rm -it --rootfs / sh

";

/// Greets.
pub(crate) fn run() -> ExitCode {
    match std::io::stdout().write_all(TEXT.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
