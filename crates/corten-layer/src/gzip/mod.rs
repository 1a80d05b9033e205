//! Layers as gzip, for registries, by all cores.
//!
//! The tar is cut into blocks that are deflated side by side, each with the end of the one before as its dictionary, and
//! put behind one another: one gzip member that any reader takes (RFC 1951 section 3.2.4 and RFC 1952; pigz does the same).
//! Several members would be simpler, but some readers end with the first.

mod bits;
mod deflate;
mod huffman;
mod matches;

use deflate::deflate;
use flate2::Crc;
use matches::WINDOW;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::num::NonZero;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of a block. The result depends on it: a change makes other bytes of the same tar.
const BLOCK: usize = 1 << 20;
/// No name, no time, unknown system: the same head whenever and wherever it is made.
const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// Compresses a layer's tar: the same bytes for the same tar, however many cores there are.
///
/// # Errors
/// What reading and writing give.
pub fn compress(tar: &mut dyn Read, out: &mut dyn Write) -> io::Result<()> {
    let workers = std::thread::available_parallelism().map_or(1, NonZero::get).min(8);
    compress_by(workers, tar, out)
}

/// A block on its way to a worker.
struct Job {
    /// What came before the block, and the block.
    data: Vec<u8>,
    /// Where the block begins.
    start: usize,
    is_last: bool,
    done: Sender<Deflated>,
}

struct Deflated {
    bytes: Vec<u8>,
    crc: Crc,
}

fn compress_by(workers: usize, tar: &mut dyn Read, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(&HEAD)?;
    let mut crc = Crc::new();
    std::thread::scope(|scope| {
        // Dropped at the end of this closure, which ends the workers.
        let (jobs, queue) = channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..workers {
            let queue = Arc::clone(&queue);
            std::thread::Builder::new().name("gzip".to_owned()).spawn_scoped(scope, move || work(&queue))?;
        }
        let mut finish = |done: Receiver<Deflated>| -> io::Result<()> {
            let deflated = done.recv().map_err(|_| io::Error::other("a compressing thread ended early"))?;
            crc.combine(&deflated.crc);
            out.write_all(&deflated.bytes)
        };
        let mut waiting = VecDeque::new();
        let mut window = Vec::new();
        let mut data = read_block(&window, tar)?;
        loop {
            let start = window.len();
            window = data[data.len().saturating_sub(WINDOW)..].to_vec();
            let next = if data.len() - start < BLOCK { Vec::new() } else { read_block(&window, tar)? };
            let is_last = next.len() <= window.len();
            let (done, result) = channel();
            jobs.send(Job { data, start, is_last, done })
                .map_err(|_| io::Error::other("no compressing thread is left"))?;
            waiting.push_back(result);
            if waiting.len() > 2 * workers
                && let Some(first) = waiting.pop_front()
            {
                finish(first)?;
            }
            if is_last {
                break;
            }
            data = next;
        }
        waiting.into_iter().try_for_each(&mut finish)
    })?;
    out.write_all(&crc.sum().to_le_bytes())?;
    out.write_all(&crc.amount().to_le_bytes())
}

/// A block behind what came before it.
fn read_block(window: &[u8], tar: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut data = Vec::with_capacity(window.len() + BLOCK);
    data.extend_from_slice(window);
    tar.take(BLOCK as u64).read_to_end(&mut data)?;
    Ok(data)
}

fn work(queue: &Mutex<Receiver<Job>>) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        let mut crc = Crc::new();
        crc.update(&job.data[job.start..]);
        let bytes = deflate(&job.data, job.start, job.is_last);
        // Who waits for it may have met an error elsewhere and be gone.
        let _ = job.done.send(Deflated { bytes, crc });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that compress a little, the same for the same seed.
    fn data(length: usize, seed: u64) -> Vec<u8> {
        let mut state = seed | 1;
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let word = (state >> 40).to_le_bytes();
            bytes.extend_from_slice(if state & (1 << 63) == 0 { b"a usual line\n" } else { &word[..5] });
        }
        bytes.truncate(length);
        bytes
    }

    fn packed(workers: usize, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        compress_by(workers, &mut &data[..], &mut out).unwrap();
        out
    }

    #[test]
    fn every_length_comes_back_and_cores_make_no_difference() {
        for length in [0, 1, WINDOW, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 3 * BLOCK + 77] {
            let data = data(length, length as u64);
            let one = packed(1, &data);
            assert_eq!(one, packed(4, &data), "{length}");
            let mut back = Vec::new();
            // A reader of a single member: all of it is one.
            flate2::read::GzDecoder::new(&one[..]).read_to_end(&mut back).unwrap();
            assert!(back == data, "{length}");
        }
    }

    #[test]
    fn runs_repeats_and_noise_in_every_mix_come_back() {
        let mut state = 1_u64;
        let mut random = move |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for round in 0..200 {
            let length = random(300_000) as usize + 1;
            let symbols = 1 + random(if round % 2 == 0 { 4 } else { 256 });
            let mut data: Vec<u8> = Vec::new();
            while data.len() < length {
                let many = 1 + random(400) as usize;
                match random(4) {
                    0 => data.extend(std::iter::repeat_n(random(symbols) as u8, many)),
                    1 => data.extend(std::iter::repeat_with(|| random(symbols) as u8).take(many)),
                    // From anywhere before, from the window's very end too.
                    _ if !data.is_empty() => {
                        let back = 1 + random(data.len().min(WINDOW + 2) as u64) as usize;
                        for at in data.len() - back..data.len() - back + many {
                            data.push(data[at]);
                        }
                    }
                    _ => {}
                }
            }
            let packed = packed(2, &data);
            let mut back = Vec::new();
            flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut back).unwrap();
            assert!(back == data, "round {round}");
            let member = &packed[HEAD.len()..packed.len() - 8];
            assert!(member.len() < data.len() + 64, "round {round}: {} of {}", member.len(), data.len());
        }
    }

    #[test]
    fn how_it_is_read_makes_no_difference() {
        struct Slow<'a>(&'a [u8]);
        impl Read for Slow<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let length = buffer.len().min(7001);
                self.0.read(&mut buffer[..length])
            }
        }
        let data = data(2 * BLOCK + 9, 5);
        let mut out = Vec::new();
        compress(&mut Slow(&data), &mut out).unwrap();
        assert!(out == packed(1, &data));
    }

    /// Stores rely on it: they dropped bytes that this makes again. Whoever makes a better compressor keeps this one beside it for them.
    #[test]
    fn the_same_tar_gives_the_same_bytes_in_every_version() {
        let mut input = data(2 * BLOCK + 9, 5);
        input.extend((0..300_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8));
        assert_eq!(
            corten_testing::registry::digest(&packed(2, &input)),
            "sha256:f5f03cb85d0c2636f70321ac60484cf1aef6b895c23213dfe9f04325afdd843f"
        );
    }

    #[test]
    fn what_does_not_compress_hardly_grows() {
        let mut state = 7_u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .take(2 * BLOCK + 5)
        .collect();
        let packed = packed(2, &noise);
        assert!(packed.len() < noise.len() + 1000, "{}", packed.len());
        let mut back = Vec::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut back).unwrap();
        assert!(back == noise);
    }

    #[test]
    fn a_reader_or_writer_that_fails_ends_it() {
        struct Fails;
        impl Read for Fails {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("torn"))
            }
        }
        impl Write for Fails {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::Error::other("full"))
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let long = data(8 * BLOCK, 3);
        let torn = compress(&mut (&long[..]).chain(Fails), &mut io::sink()).unwrap_err();
        assert_eq!(torn.to_string(), "torn");
        assert_eq!(compress(&mut &long[..], &mut Fails).unwrap_err().to_string(), "full");
    }
}
