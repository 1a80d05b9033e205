//! Any bytes as a layer's archive: applied into a root beside a neighbour that must not change; what could be applied must come out
//! again byte for byte.
#![no_main]

use std::fs::File;
use std::os::fd::AsFd;

use corten_layer::{ApplyOptions, OwnerMapping, apply, reproduce};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let bytes = &with_sums(input);
    let scratch = std::env::temp_dir().join(format!("corten-fuzz-{}", std::process::id()));
    let (root, outside) = (scratch.join("root"), scratch.join("outside"));
    std::fs::create_dir_all(&root).unwrap();
    std::fs::create_dir_all(&outside).unwrap();
    std::fs::write(outside.join("secret"), "secret").unwrap();
    let folder = File::open(&root).unwrap();
    let options = ApplyOptions { owner: OwnerMapping::Unchanged, ..ApplyOptions::default() };
    let mut record = Vec::new();
    if apply(bytes.as_slice(), folder.as_fd(), &mut record, &options).is_ok() {
        let mut again = Vec::new();
        reproduce(std::io::Cursor::new(&record), folder.as_fd(), &mut again).unwrap();
        assert!(&again == bytes);
    }
    assert_eq!(std::fs::read(outside.join("secret")).unwrap(), b"secret");
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
    assert_eq!(std::fs::read_dir(&scratch).unwrap().count(), 2);
    std::fs::remove_dir_all(&scratch).unwrap();
});

/// The input with a right checksum in every block: else hardly any change would get past the first header.
fn with_sums(input: &[u8]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for block in bytes.chunks_exact_mut(512).filter(|block| block.iter().any(|&byte| byte != 0)) {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    bytes
}
