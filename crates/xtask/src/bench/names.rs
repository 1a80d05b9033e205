//! How many names a container's resolver answers: queries by UDP from inside, a window of them under way at a time.

use super::engine::Engine;
use super::{Bench, Result};
use std::net::UdpSocket;
use std::process::Command;
use std::time::{Duration, Instant};

/// Queries that wait for their answer at a time.
const WINDOW: u16 = 32;
/// How long it is asked.
const TIME: Duration = Duration::from_secs(2);
/// The name that is asked for, and its answer's shortest length.
const NAME: &str = "bench-asked";
const SHORTEST: usize = 12;

/// Asks in the network namespace in which this process is, and prints answers a second.
pub(crate) fn load() -> Result<()> {
    let told = |error: std::io::Error| format!("asking for names: {error}");
    let socket = UdpSocket::bind("127.0.0.1:0").map_err(told)?;
    socket.connect("127.0.0.11:53").map_err(told)?;
    socket.set_read_timeout(Some(Duration::from_millis(500))).map_err(told)?;
    let mut query = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, NAME.len() as u8];
    query.extend_from_slice(NAME.as_bytes());
    query.extend_from_slice(&[0, 0, 1, 0, 1]);
    let mut ask = |number: u16| {
        query[..2].copy_from_slice(&number.to_be_bytes());
        socket.send(&query).map_err(told)
    };
    for number in 0..WINDOW {
        ask(number)?;
    }
    let (mut answers, mut number) = (0_u32, WINDOW);
    let mut reply = [0; 512];
    let begun = Instant::now();
    while begun.elapsed() < TIME {
        match socket.recv(&mut reply) {
            Ok(length) if length > SHORTEST && reply[3].trailing_zeros() >= 4 && reply[7] == 1 => {
                answers += 1;
            }
            Ok(_) => return Err("asking for names: a reply without an answer".to_owned()),
            // Packets may be lost: the window is filled again.
            Err(_) => {
                for _ in 1..WINDOW {
                    number = number.wrapping_add(1);
                    ask(number)?;
                }
            }
        }
        number = number.wrapping_add(1);
        ask(number)?;
    }
    println!("{:.0}", f64::from(answers) / begun.elapsed().as_secs_f64());
    Ok(())
}

impl Bench<'_> {
    pub(super) fn names(&mut self, image: &str) -> Result<()> {
        let name = "names answered per second, one container";
        if !self.settings.wants(name) {
            return Ok(());
        }
        for (_, engine) in self.both() {
            engine.output(&["network", "create", "bench-names"])?;
            let run = ["run", "-d", "--label", "bench", "--network", "bench-names", "--name"];
            engine.output(&[&run[..], &[NAME, image, "sleep", "3600"]].concat())?;
        }
        self.alternate((name, "/s", true, ">= 5x"), 3, ask_inside)?;
        for (_, engine) in self.both() {
            engine.output(&["rm", "-f", NAME])?;
            engine.output(&["network", "rm", "bench-names"])?;
        }
        Ok(())
    }
}

fn ask_inside(engine: &Engine) -> Result<f64> {
    let pid = engine.output(&["inspect", "-f", "{{.State.Pid}}", NAME])?;
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("nsenter")
        .args(["-t", &pid, "-n", "--"])
        .arg(program)
        .arg("ask-names")
        .output()
        .map_err(|error| format!("nsenter: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    said.trim().parse().map_err(|_| String::from_utf8_lossy(&output.stderr).trim().to_owned())
}
