//! The command inside the containers: a list of small steps.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Duration;

/// Does the steps in order: `out:TEXT`, `err:TEXT` (a line each), `raw:TEXT` (no line feed), `lines:N`, `bytes:N`,
/// `sleep:MS`, `cat` (until the end of input), `line` (one line of input, echoed), `size`, `holder:MS` (a descendant
/// that keeps the pipes), `eat:MB`, `forever`, `exit:CODE`.
pub(crate) fn run(steps: impl Iterator<Item = String>) -> ExitCode {
    let mut out = std::io::stdout();
    for step in steps {
        let (word, rest) = step.split_once(':').unwrap_or((&step, ""));
        let number = rest.parse::<u64>().unwrap_or(0);
        let done = match word {
            "out" => writeln!(out, "{rest}"),
            "err" => writeln!(std::io::stderr(), "{rest}"),
            "raw" => write!(out, "{rest}").and_then(|()| out.flush()),
            "lines" => (0..number).try_for_each(|line| writeln!(out, "line {line}")),
            "bytes" => out.write_all(&vec![b'x'; number as usize]).and_then(|()| out.flush()),
            "sleep" => {
                std::thread::sleep(Duration::from_millis(number));
                Ok(())
            }
            "cat" => std::io::copy(&mut std::io::stdin(), &mut out).map(drop).and_then(|()| out.flush()),
            "line" => one_line().and_then(|line| write!(out, "got {line}").and_then(|()| out.flush())),
            "size" => {
                let size = rustix::termios::tcgetwinsize(std::io::stdout().as_fd()).unwrap();
                writeln!(out, "{}x{}", size.ws_row, size.ws_col)
            }
            "holder" => std::process::Command::new("/proc/self/exe")
                .args(["inside", &format!("sleep:{number}")])
                .spawn()
                .map(drop),
            "eat" => {
                let memory = vec![1_u8; number as usize * 1024 * 1024];
                std::hint::black_box(&memory);
                Ok(())
            }
            "forever" => loop {
                std::thread::sleep(Duration::from_secs(1000));
            },
            "exit" => return ExitCode::from(number as u8),
            _ => return ExitCode::from(99),
        };
        if done.is_err() {
            return ExitCode::from(98);
        }
    }
    ExitCode::SUCCESS
}

/// One line, not a byte more: what follows is for whoever reads next.
fn one_line() -> std::io::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while std::io::stdin().lock().read(&mut byte)? == 1 {
        line.push(byte[0]);
        if byte[0] == b'\n' {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}
