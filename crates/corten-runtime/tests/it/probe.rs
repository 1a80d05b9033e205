//! What runs inside: commands separated by `;`, each printing what it sees. The exit code is that of `exit`.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

/// Runs the commands of all arguments.
pub(crate) fn run(arguments: &[String]) -> i32 {
    let script = arguments.join(" ");
    for command in script.split(';') {
        let words: Vec<&str> = command.split_whitespace().collect();
        let Some((name, rest)) = words.split_first() else { continue };
        let first = rest.first().copied().unwrap_or("");
        match *name {
            "exit" => return first.parse().unwrap_or(0),
            "cat" => show(first, fs::read_to_string(first)),
            "list" => show(first, list(first)),
            "link" => show(first, fs::read_link(first).map(|path| path.display().to_string())),
            "write" => show(first, write(first, &rest[1..].join(" ")).map(|()| "written".to_owned())),
            "stat" => show(first, stat(first)),
            "echo" => println!("{}", rest.join(" ")),
            "complain" => eprintln!("{}", rest.join(" ")),
            "read" => {
                let mut line = String::new();
                let _ = std::io::stdin().read_line(&mut line);
                println!("read: {}", line.trim_end());
            }
            "cwd" => show("cwd", std::env::current_dir().map(|path| path.display().to_string())),
            "env" => println!("{first}={}", std::env::var(first).unwrap_or_default()),
            "id" => {
                let groups = rustix::process::getgroups().unwrap_or_default();
                let groups: Vec<u32> = groups.into_iter().map(rustix::fs::Gid::as_raw).collect();
                let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
                println!("uid={uid} gid={gid} groups={groups:?}");
            }
            "umask" => {
                println!("umask={:o}", rustix::process::umask(rustix::fs::Mode::empty()).as_raw_mode());
            }
            "host" => println!("host={}", rustix::system::uname().nodename().to_string_lossy()),
            "ttyname" => {
                let name = rustix::termios::ttyname(rustix::stdio::stdin(), Vec::new());
                show("tty", name.map(|name| name.to_string_lossy().into_owned()).map_err(Into::into));
            }
            "reopen" => show("reopen", reopen(first)),
            "steal" => steal(&|pid| {
                let own = fs::read_link("/proc/self/exe").unwrap_or_default();
                let program = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
                let opened = program != own && fs::File::open(format!("/proc/{pid}/exe")).is_ok();
                opened.then(|| program.display().to_string())
            }),
            "trace" => steal(&of_the_host),
            "rename" => {
                let name = std::ffi::CString::new(first).expect("no zero byte");
                show("rename", corten_sys::process::set_name(&name).map(|()| "done".to_owned()));
            }
            "mounted" => show(&format!("mounted {first}"), mounted(first)),
            "unshare" => {
                let user = corten_sys::process::Namespaces::USER;
                show("unshare", corten_sys::process::unshare(user).map(|()| "done".to_owned()));
            }
            "mknod" => {
                let made = rustix::fs::mknodat(
                    rustix::fs::CWD,
                    first,
                    rustix::fs::FileType::BlockDevice,
                    rustix::fs::Mode::from_raw_mode(0o600),
                    rustix::fs::makedev(254, 0),
                );
                show("mknod", made.map(|()| "made".to_owned()).map_err(Into::into));
            }
            "orphan" => orphan(),
            "pid" => println!("pid={}", std::process::id()),
            "sleep" => std::thread::sleep(std::time::Duration::from_millis(first.parse().unwrap_or(0))),
            "eat" => eat(first.parse().unwrap_or(0)),
            "wait-term" => {
                corten_sys::process::block_all_signals().expect("signals are blocked");
                println!("ready");
                let signal = corten_sys::process::wait_for_signal().expect("a signal");
                println!("signal={signal}");
            }
            other => println!("unknown command {other}"),
        }
        let _ = std::io::stdout().flush();
    }
    0
}

fn show(what: &str, result: std::io::Result<String>) {
    match result {
        Ok(text) => println!("{what}: {}", text.trim_end()),
        Err(error) => println!("{what}: error {}", error.kind()),
    }
}

fn list(path: &str) -> std::io::Result<String> {
    let mut names: Vec<String> =
        fs::read_dir(path)?.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names.join(" "))
}

fn write(path: &str, text: &str) -> std::io::Result<()> {
    fs::OpenOptions::new().write(true).create(true).truncate(false).open(path)?.write_all(text.as_bytes())
}

fn stat(path: &str) -> std::io::Result<String> {
    let data = fs::symlink_metadata(path)?;
    let kind = data.file_type();
    let letter = if kind.is_dir() {
        'd'
    } else if kind.is_symlink() {
        'l'
    } else if kind.is_char_device() {
        'c'
    } else if kind.is_file() {
        'f'
    } else {
        '?'
    };
    let (major, minor) = (rustix::fs::major(data.rdev()), rustix::fs::minor(data.rdev()));
    Ok(format!("{letter} {:o} {major}:{minor} {}:{}", data.mode() & 0o7777, data.uid(), data.gid()))
}

/// Writes to the file behind a descriptor as soon as nobody executes it any more.
fn reopen(number: &str) -> std::io::Result<String> {
    let path = format!("/proc/self/fd/{number}");
    for _ in 0..200 {
        match fs::OpenOptions::new().write(true).truncate(true).open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {}
            result => return result.and_then(|mut file| file.write_all(b"evil")).map(|()| "written".into()),
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    Err(std::io::ErrorKind::ExecutableFileBusy.into())
}

/// What of the host a process still has: another namespace than ours, a file that is none of ours.
fn of_the_host(pid: u32) -> Option<String> {
    for name in ["mnt", "net", "ipc", "uts"] {
        let theirs = fs::read_link(format!("/proc/{pid}/ns/{name}")).ok()?;
        if fs::read_link(format!("/proc/self/ns/{name}")).ok()? != theirs {
            return Some(format!("{name} {}", theirs.display()));
        }
    }
    let files = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let mut links = files.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    // What it opens by itself, inside.
    let own = ["/dev", "/bin", "/proc", "/etc"];
    let link = links.find(|link| link.starts_with("/") && !own.iter().any(|own| link.starts_with(own)))?;
    // Our own root is open while users are looked up.
    (link != std::path::Path::new("/")).then(|| link.display().to_string())
}

/// Looks at every process that comes into sight, until there is one with something to steal.
fn steal(look: &dyn Fn(u32) -> Option<String>) {
    println!("ready");
    let _ = std::io::stdout().flush();
    let exists = |pid: u32| {
        rustix::process::Pid::from_raw(pid as i32)
            .is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok())
    };
    let mut next = std::process::id() + 1;
    loop {
        let first = next;
        for pid in first..first + 4 {
            if !exists(pid) {
                continue;
            }
            next = pid;
            while exists(pid) {
                if let Some(found) = look(pid) {
                    println!("stolen {found}");
                    let _ = std::io::stdout().flush();
                    std::thread::sleep(std::time::Duration::from_secs(10));
                }
            }
        }
    }
}

/// Whether the mount at a path can be written to, as the kernel's table has it.
fn mounted(path: &str) -> std::io::Result<String> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let line = table.lines().rfind(|line| line.split(' ').nth(4) == Some(path));
    let options = line.and_then(|line| line.split(' ').nth(5)).ok_or(std::io::ErrorKind::NotFound)?;
    Ok(options.split(',').next().unwrap_or_default().to_owned())
}

/// Leaves a process behind whose parent is gone.
fn orphan() {
    use corten_sys::process::{exit_now, fork_inside, wait};
    let Ok(Some(child)) = fork_inside() else {
        // The child's child outlives it by a little.
        if let Ok(Some(_)) = fork_inside() {
            exit_now(0);
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
        exit_now(0);
    };
    let _ = wait(child);
    std::thread::sleep(std::time::Duration::from_millis(100));
    let zombies = fs::read_dir("/proc").map_or(99, |entries| {
        entries
            .flatten()
            .filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok())
            .filter(|stat| stat.contains(") Z "))
            .count()
    });
    println!("zombies={zombies}");
}

/// Takes so many MiB of memory.
fn eat(mebibytes: usize) {
    let mut blocks = Vec::new();
    for _ in 0..mebibytes {
        blocks.push(vec![1_u8; 1 << 20]);
    }
    println!("ate {}", blocks.len());
}
