//! The embedded image: `hello-world`, made from this program, so that a first run needs nothing from elsewhere.
//!
//! Its one layer holds one file, `/hello`: a copy of the running program, which greets when it is called by that
//! name.

use crate::error::{EngineError, Result};
use corten_oci::image::{ContainerDefaults, History, ImageConfig};
use corten_oci::{Platform, Reference};
use corten_std::Timestamp;
use corten_store::{NewImage, Store};
use std::fs::File;
use std::io::{self, Read};

/// The image's name.
const NAME: &str = "hello-world:latest";

/// Whether a name means the embedded image.
pub(crate) fn is_meant(reference: &str) -> bool {
    Reference::parse(reference).is_ok_and(|name| name.digest().is_none() && name.familiar() == NAME)
}

/// Makes the image. Two at once make the same one.
pub(crate) fn make(store: &Store) -> Result<()> {
    let failed =
        |error: io::Error| EngineError::from_error("making the embedded image from this program", error);
    let program = File::open("/proc/self/exe").map_err(failed)?;
    let size = program.metadata().map_err(failed)?.len();
    let padding = (512 - size % 512) % 512;
    // A tar ends with two empty blocks.
    let archive = io::Cursor::new(header("hello", size))
        .chain(program.take(size))
        .chain(io::repeat(0).take(padding + 1024));
    let platform = Platform::host();
    let config = ImageConfig {
        created: Some(Timestamp::from_unix(0, 0)),
        architecture: platform.architecture,
        os: platform.os,
        variant: platform.variant,
        config: ContainerDefaults {
            cmd: Some(vec!["/hello".to_owned()]),
            env: Some(vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()]),
            working_dir: "/".to_owned(),
            ..ContainerDefaults::default()
        },
        history: vec![History { created_by: "the corten program".to_owned(), ..History::default() }],
        ..ImageConfig::default()
    };
    let name = Reference::parse(NAME).map_err(|error| EngineError::because("", error))?;
    let image = NewImage { base: None, layers: vec![Box::new(archive)], config, names: vec![name] };
    store.images().add(image).map_err(|error| EngineError::because("making the embedded image", error))?;
    Ok(())
}

/// A ustar header (POSIX.1-1988) of one plain file, mode 0755, owner root, time 0.
fn header(name: &str, size: u64) -> Vec<u8> {
    let mut header = vec![0_u8; 512];
    let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
    put(0, name.as_bytes());
    put(100, b"0000755\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{size:011o}\0").as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_plain_name_means_it() {
        for (name, meant) in [
            ("hello-world", true),
            ("hello-world:latest", true),
            ("docker.io/library/hello-world", true),
            ("hello-world:1", false),
            ("x/hello-world", false),
        ] {
            assert_eq!(is_meant(name), meant, "{name}");
        }
    }

    #[test]
    fn the_header_adds_up() {
        let header = header("hello", 10);
        let mut blank = header.clone();
        blank[148..156].fill(b' ');
        let sum: u32 = blank.iter().map(|byte| u32::from(*byte)).sum();
        assert_eq!(&header[148..154], format!("{sum:06o}").as_bytes());
    }
}
