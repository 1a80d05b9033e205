//! Any bytes as the record of a layer: an error or an archive, never a panic, and never a file from outside of the root.
#![no_main]

use std::fs::File;
use std::os::fd::AsFd;

use corten_layer::reproduce;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let scratch = std::env::temp_dir().join(format!("corten-fuzz-record-{}", std::process::id()));
    std::fs::create_dir_all(scratch.join("root/d")).unwrap();
    std::fs::write(scratch.join("secret"), "secret of the host").unwrap();
    std::os::unix::fs::symlink("../secret", scratch.join("root/link")).unwrap_or_default();
    let root = File::open(scratch.join("root")).unwrap();
    let mut out = Bounded(Vec::new());
    let _ = reproduce(std::io::Cursor::new(bytes), root.as_fd(), &mut out);
    let secret = b"secret of the host";
    assert!(!out.0.windows(secret.len()).any(|window| window == secret));
    std::fs::remove_dir_all(&scratch).unwrap();
});

/// Takes so much and no more: a record of a few bytes can stand for any number of zeros.
struct Bounded(Vec<u8>);

impl std::io::Write for Bounded {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        if self.0.len() > 1 << 20 {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.0.extend_from_slice(buffer);
        Ok(buffer.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
