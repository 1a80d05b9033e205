//! CVE-2018-15664: a container that exchanges folders for links while files are copied in or out; and nodes of devices in
//! the place of files.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use corten_layer::{PackOptions, UnpackOptions, pack, resolve_in_root, unpack};
use rustix::fs::{CWD, FileType, Mode, RenameFlags};

use crate::support::*;

/// A root with the folder `a`, which changes places all the time with a link out of the root.
struct Fight {
    scratch: Scratch,
}

impl Fight {
    fn new() -> Self {
        let scratch = Scratch::new("fight");
        for folder in ["root", "root/a", "outside"] {
            std::fs::create_dir(scratch.path().join(folder)).unwrap();
        }
        std::fs::write(scratch.path().join("root/a/secret"), "the container's").unwrap();
        std::fs::write(scratch.path().join("outside/secret"), "the host's").unwrap();
        std::os::unix::fs::symlink(scratch.path().join("outside"), scratch.path().join("root/b")).unwrap();
        Self { scratch }
    }

    /// Calls `attempt` again and again during the fight, until it says that the container won; whether it ever did.
    fn rounds(&self, most: usize, mut attempt: impl FnMut(&Path) -> bool) -> bool {
        let (root, over) = (self.scratch.path().join("root"), AtomicBool::new(false));
        let (one, other) = (root.join("a"), root.join("b"));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    rustix::fs::renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).unwrap();
                }
            });
            let won = (0..most).any(|_| attempt(&root));
            over.store(true, Ordering::Relaxed);
            won
        })
    }

    fn root(&self) -> PathBuf {
        self.scratch.path().join("root")
    }

    /// `a` and the link change places once.
    fn exchange(&self) {
        let (one, other) = (self.root().join("a"), self.root().join("b"));
        rustix::fs::renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
    }

    /// `a` is the folder.
    fn make_folder(&self) {
        if self.root().join("a").is_symlink() {
            self.exchange();
        }
    }

    fn outside(&self) -> usize {
        std::fs::read_dir(self.scratch.path().join("outside")).unwrap().count()
    }
}

/// A stream on which the container acts: with each piece that passes, the folder and the link change places.
struct Exchanging<'a, T> {
    fight: &'a Fight,
    inner: T,
}

impl<T: Write> Write for Exchanging<'_, T> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.fight.exchange();
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

impl<T: Read> Read for Exchanging<'_, T> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        self.fight.exchange();
        // A block at a time, so that it happens between any two.
        let most = bytes.len().min(512);
        self.inner.read(&mut bytes[..most])
    }
}

#[test]
fn what_is_copied_out_is_the_containers() {
    let fight = Fight::new();
    let won = fight.rounds(3000, |root| {
        let mut tar = Vec::new();
        // It may be missing for a moment, it may not be something else.
        let _ = pack(open(root).as_fd(), Path::new("/a/secret"), &mut tar, &PackOptions::default());
        let _ = pack(open(root).as_fd(), Path::new("/"), &mut tar, &PackOptions::default());
        tar.windows(10).any(|window| window == b"the host's")
    });
    assert!(!won, "a file of the host was copied out");
    // The worst moment each time: the folder changes places whenever something was written.
    for path in ["/a", "/a/secret", "/"] {
        let mut out = Exchanging { fight: &fight, inner: Vec::new() };
        let _ = pack(open(&fight.root()).as_fd(), Path::new(path), &mut out, &PackOptions::default());
        assert!(
            !out.inner.windows(10).any(|window| window == b"the host's"),
            "{path} was copied from outside"
        );
    }
    // The old way: the path is resolved inside the root, and what came of that is opened by its name.
    let root = fight.root();
    fight.make_folder();
    let resolved = resolve_in_root(open(&root).as_fd(), Path::new("/a/secret")).unwrap();
    fight.exchange();
    let content = std::fs::read(root.join(resolved.strip_prefix("/").unwrap())).unwrap();
    assert_eq!(content, b"the host's", "no attack to be stopped");
}

#[test]
fn what_is_copied_in_lands_inside() {
    if !need_root() {
        return;
    }
    let fight = Fight::new();
    let tar = tar(&[folder("sub"), file("sub/new", b"x"), file("new", b"x"), symlink("sub/link", "/etc")]);
    fight.rounds(1500, |root| {
        let _ = unpack(tar.as_slice(), open(root).as_fd(), Path::new("/a"), &UnpackOptions::default());
        let _ = unpack(tar.as_slice(), open(root).as_fd(), Path::new("/a/sub"), &UnpackOptions::default());
        false
    });
    assert_eq!(fight.outside(), 1, "something was made outside");
    // The worst moment each time: the folder changes places whenever something was read.
    for path in ["/a", "/a/sub"] {
        let tar = Exchanging { fight: &fight, inner: tar.as_slice() };
        let _ = unpack(tar, open(&fight.root()).as_fd(), Path::new(path), &UnpackOptions::default());
        assert_eq!(fight.outside(), 1, "something was made outside");
    }
    // The old way.
    let root = fight.root();
    fight.make_folder();
    let resolved = resolve_in_root(open(&root).as_fd(), Path::new("/a")).unwrap();
    fight.exchange();
    std::fs::write(root.join(resolved.strip_prefix("/").unwrap()).join("new"), "x").unwrap();
    assert_eq!(fight.outside(), 2, "no attack to be stopped");
}

#[test]
fn a_device_in_the_place_of_a_file_is_not_opened() {
    if !need_root() {
        return;
    }
    let scratch = Scratch::new("device");
    let node = scratch.path().join("node");
    // The null device stands for one that does something when it is opened: a watchdog, a tape.
    let device = rustix::fs::makedev(1, 3);
    rustix::fs::mknodat(CWD, &node, FileType::CharacterDevice, Mode::from_raw_mode(0o600), device).unwrap();
    let opened = |action: &dyn Fn()| {
        use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
        let watch = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
        add_watch(&watch, &node, WatchFlags::OPEN).unwrap();
        action();
        rustix::io::read(&watch, &mut [0; 64]).is_ok()
    };
    let packed = || {
        let mut tar = Vec::new();
        pack(open(scratch.path()).as_fd(), Path::new("/"), &mut tar, &PackOptions::default()).unwrap();
        pack(open(scratch.path()).as_fd(), Path::new("/node"), &mut tar, &PackOptions::default()).unwrap();
    };
    assert!(!opened(&packed));
    // Nor where it takes a file's place between the look and the open.
    let (file, root) = (scratch.path().join("file"), open(scratch.path()));
    std::fs::write(&file, "text").unwrap();
    let over = AtomicBool::new(false);
    let fought = || {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    rustix::fs::renameat_with(CWD, &node, CWD, &file, RenameFlags::EXCHANGE).unwrap();
                }
            });
            for _ in 0..3000 {
                let _ = pack(root.as_fd(), Path::new("/"), &mut std::io::sink(), &PackOptions::default());
            }
            over.store(true, Ordering::Relaxed);
        });
    };
    assert!(!opened(&fought));
    let plainly = || drop(std::fs::File::open(if node.exists() { &node } else { &file }));
    assert!(opened(&plainly) || opened(&|| drop(std::fs::File::open(&file))), "opening is seen");
}
