//! How fast a real tree goes in and out. Left out of ordinary runs:
//! `LAYER_TREE=/usr/lib cargo test -p corten-layer --test it speed -- --ignored --nocapture`.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::Instant;

use corten_layer::{ApplyOptions, DiffOptions, apply, decompress, diff, reproduce};

use crate::support::{Scratch, applied, check_reproduced, open};

#[test]
#[ignore = "a measurement"]
#[expect(clippy::print_stderr, reason = "the measurement is for whoever asked for it")]
fn a_tree_goes_in_and_out() {
    let tree = std::env::var("LAYER_TREE").unwrap_or_else(|_| "/usr/lib".to_owned());
    let mut bytes = Vec::new();
    let begun = Instant::now();
    let mut record = Vec::new();
    let made =
        diff(open(Path::new(&tree)).as_fd(), &mut bytes, &mut record, &DiffOptions::default()).unwrap();
    eprintln!(
        "diff {:?}: {} entries, {} bytes, record {}",
        begun.elapsed(),
        made.entries,
        bytes.len(),
        record.len()
    );
    for _ in 0..3 {
        let scratch = Scratch::new("speed");
        let begun = Instant::now();
        let mut record = Vec::new();
        let applied =
            apply(bytes.as_slice(), open(scratch.path()).as_fd(), &mut record, &ApplyOptions::default())
                .unwrap();
        let apply_time = begun.elapsed();
        let begun = Instant::now();
        reproduce(std::io::Cursor::new(&record), open(scratch.path()).as_fd(), &mut std::io::sink()).unwrap();
        eprintln!(
            "apply {apply_time:?} ({:.1} us an entry, {:.0} MB/s), reproduce {:?}, record {} bytes",
            apply_time.as_secs_f64() * 1e6 / applied.entries as f64,
            bytes.len() as f64 / 1e6 / apply_time.as_secs_f64(),
            begun.elapsed(),
            record.len()
        );
    }
}

/// `LAYER_ARCHIVES=a.tar:b.tar.gz`: real layers go in and come out byte for byte.
#[test]
#[ignore = "needs archives"]
#[expect(clippy::print_stderr, reason = "the measurement is for whoever asked for it")]
fn real_layers_come_out_again() {
    let Ok(archives) = std::env::var("LAYER_ARCHIVES") else { return };
    for archive in archives.split(':') {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut decompress(open(Path::new(archive))).unwrap(), &mut bytes).unwrap();
        let scratch = Scratch::new("real");
        let begun = Instant::now();
        let (applied, record) = applied(&bytes, scratch.path(), &ApplyOptions::default()).unwrap();
        let apply_time = begun.elapsed();
        check_reproduced(&record, scratch.path(), &bytes);
        eprintln!(
            "{archive}: {} entries, {} bytes, apply {apply_time:?}, record {}",
            applied.entries,
            bytes.len(),
            record.len()
        );
    }
}
