//! The command line alone, for trying it against any daemon: `cargo run -p corten-cli --example client -- ps`.

fn main() -> std::process::ExitCode {
    corten_cli::run(std::env::args_os().collect())
}
