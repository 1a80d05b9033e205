//! An image with one changed line on its way to another machine's engine, over a real sshd on loopback.

use super::engine::{Engine, Scratch};
use super::{Bench, Result, Row};
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: usize = 5;

/// The path of a program, as a shell finds it; also where only root looks.
fn find(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return fs::canonicalize(program).ok();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// An sshd with a port, keys and settings of its own, and an `ssh` that knows them. Its sessions find Corten as `docker`.
struct Line {
    folder: PathBuf,
    server: Child,
    port: u16,
}

impl Line {
    fn start(sshd: &Path, ssh: &Path, corten: &Path, far: &Engine, folder: &Path) -> Result<Self> {
        let said = |error: std::io::Error| error.to_string();
        let folder = folder.join("line");
        for name in ["bin", "far"] {
            fs::create_dir_all(folder.join(name)).map_err(said)?;
        }
        // Where sshd puts its unprivileged half.
        fs::create_dir_all("/run/sshd").map_err(said)?;
        let corten = fs::canonicalize(corten).map_err(said)?;
        symlink(corten, folder.join("far/docker")).map_err(said)?;
        for key in ["host", "key"] {
            let mut command = Command::new("ssh-keygen");
            command.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(folder.join(key));
            if !command.status().map_err(|error| format!("ssh-keygen: {error}"))?.success() {
                return Err("ssh-keygen made no key".to_owned());
            }
        }
        let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(said)?;
        let port = listener.local_addr().map_err(said)?.port();
        drop(listener);
        let at = folder.display();
        let settings = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {at}/host\nAuthorizedKeysFile {at}/key.pub\nPidFile none\nStrictModes no\nPermitRootLogin yes\nPasswordAuthentication no\nSetEnv DOCKER_HOST={} PATH={at}/far:/usr/bin:/bin\n",
            far.host
        );
        fs::write(folder.join("sshd_config"), settings).map_err(said)?;
        let wrapper = folder.join("bin/ssh");
        let text = format!(
            "#!/bin/sh\nexec {} -F none -i {at}/key -o UserKnownHostsFile={at}/known -o StrictHostKeyChecking=accept-new -o LogLevel=ERROR \"$@\"\n",
            ssh.display()
        );
        fs::write(&wrapper, text).map_err(said)?;
        fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).map_err(said)?;
        let mut command = Command::new(sshd);
        command.arg("-D").arg("-f").arg(folder.join("sshd_config")).arg("-E").arg(folder.join("log"));
        let server = command.stdin(Stdio::null()).spawn().map_err(|error| format!("sshd: {error}"))?;
        let line = Self { folder, server, port };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if begun.elapsed() > Duration::from_secs(10) {
                let log = fs::read_to_string(line.folder.join("log")).unwrap_or_default();
                return Err(format!("sshd does not listen on port {port}: {log}"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(line)
    }

    /// `image send`, in milliseconds.
    fn send(&self, engine: &Engine, image: &str) -> Result<f64> {
        let path = std::env::var("PATH").unwrap_or_default();
        let host = format!("ssh://127.0.0.1:{}", self.port);
        let mut command = engine.command(&["image", "send", "-q", &host, image]);
        command.env("PATH", format!("{}:{path}", self.folder.join("bin").display()));
        let begun = Instant::now();
        let output = command.output().map_err(|error| format!("{}: {error}", engine.program))?;
        let took = begun.elapsed().as_secs_f64() * 1000.0;
        if !output.status.success() {
            return Err(format!("image send: {}", String::from_utf8_lossy(&output.stderr).trim()));
        }
        Ok(took)
    }

    /// `save | ssh … load`, in milliseconds.
    fn save_and_load(&self, engine: &Engine, image: &str) -> Result<f64> {
        let program = find(&engine.program).ok_or_else(|| format!("{}: not found", engine.program))?;
        let far = format!("DOCKER_HOST={} {} load -q", engine.host, program.display());
        let begun = Instant::now();
        let mut save = engine.command(&["save", image]);
        let mut save = save.stdout(Stdio::piped()).spawn().map_err(|error| format!("save: {error}"))?;
        let archive = save.stdout.take().ok_or("save has no output")?;
        let mut load = Command::new(self.folder.join("bin/ssh"));
        load.args(["-T", "-p", &self.port.to_string(), "127.0.0.1", &far]);
        let load = load.stdin(archive).output().map_err(|error| format!("ssh: {error}"))?;
        let saved = save.wait().map_err(|error| format!("save: {error}"))?;
        let took = begun.elapsed().as_secs_f64() * 1000.0;
        if !saved.success() || !load.status.success() {
            return Err(format!("save | ssh | load: {}", String::from_utf8_lossy(&load.stderr).trim()));
        }
        Ok(took)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Bench<'_> {
    /// `image send` to a second Corten that has all but the changed layer, against `docker save | ssh | docker load`. There the
    /// other side is the same engine, for want of a second one: it has every layer already, which is in its favour.
    pub(super) fn sends(&mut self, image: &str) -> Result<()> {
        let archive = self.settings.load.last().cloned();
        let stem = archive.as_deref().and_then(Path::file_stem);
        let stem = stem.map_or_else(|| image.to_owned(), |stem| stem.to_string_lossy().into_owned());
        let name = format!("image send of a changed line, {stem}");
        if !self.settings.wants(&name) {
            return Ok(());
        }
        let (Some(sshd), Some(ssh)) = (find("sshd"), find("ssh")) else {
            let name = format!("{name} (left out: no sshd here)");
            self.push(Row { name, unit: "ms", corten: f64::NAN, other: None, rate: false, wanted: ">= 5x" });
            return Ok(());
        };
        let mut far = Scratch::new(&self.settings.corten, "far")?;
        far.start()?;
        let line = Line::start(&sshd, &ssh, &self.settings.corten, &far.engine(), &self.scratch.folder)?;
        let mut times = [Vec::new(), Vec::new()];
        let mut bases = Vec::new();
        for (own, engine) in self.both() {
            let base = match &archive {
                Some(archive) => Self::loaded(&engine, archive)?,
                None => image.to_owned(),
            };
            if own {
                line.send(&engine, &base)?;
            }
            for round in 0..ROUNDS {
                let script = format!("echo {round} > /line");
                Self::committed(&engine, &base, &script, &format!("bench-send:{round}"))?;
            }
            bases.push(base);
        }
        for round in 0..ROUNDS {
            let made = format!("bench-send:{round}");
            for (own, engine) in self.both() {
                let took = if own { line.send(&engine, &made)? } else { line.save_and_load(&engine, &made)? };
                times[usize::from(!own)].push(took);
                if own {
                    far.engine().output(&["image", "inspect", &made])?;
                }
                engine.output(&["rmi", "-f", &made])?;
            }
        }
        for ((_, engine), base) in self.both().iter().zip(&bases).filter(|_| archive.is_some()) {
            engine.output(&["rmi", "-f", base])?;
        }
        self.push_medians((&name, "ms", false, ">= 5x"), times);
        Ok(())
    }
}
