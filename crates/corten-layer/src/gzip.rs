//! Layers as gzip, for registries, by all cores.
//!
//! The tar is cut into blocks that are deflated side by side, each with the end of the one before as its dictionary, and
//! put behind one another: one gzip member that any reader takes (RFC 1951 section 3.2.4 and RFC 1952; pigz does the same).

use flate2::{Compress, Compression, Crc, FlushCompress};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::num::NonZero;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of a block. The result depends on it: a change makes other bytes of the same tar.
const BLOCK: usize = 512 << 10;
/// How far back deflate looks (RFC 1951: 32 KiB).
const WINDOW: usize = 32 << 10;
/// What gzip takes when nothing is asked for.
const LEVEL: u32 = 6;
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
    block: Vec<u8>,
    /// What came before it.
    dictionary: Vec<u8>,
    is_last: bool,
    done: Sender<io::Result<Deflated>>,
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
        let mut finish = |done: Receiver<io::Result<Deflated>>| -> io::Result<()> {
            let deflated =
                done.recv().map_err(|_| io::Error::other("a compressing thread ended early"))??;
            crc.combine(&deflated.crc);
            out.write_all(&deflated.bytes)
        };
        let mut waiting = VecDeque::new();
        let mut dictionary = Vec::new();
        let mut block = read_block(tar)?;
        loop {
            let next = if block.len() < BLOCK { Vec::new() } else { read_block(tar)? };
            let is_last = next.is_empty();
            let window = block[block.len().saturating_sub(WINDOW)..].to_vec();
            let (done, result) = channel();
            let dictionary = std::mem::replace(&mut dictionary, window);
            jobs.send(Job { block, dictionary, is_last, done })
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
            block = next;
        }
        waiting.into_iter().try_for_each(&mut finish)
    })?;
    out.write_all(&crc.sum().to_le_bytes())?;
    out.write_all(&crc.amount().to_le_bytes())
}

fn read_block(tar: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut block = Vec::with_capacity(BLOCK);
    tar.take(BLOCK as u64).read_to_end(&mut block)?;
    Ok(block)
}

fn work(queue: &Mutex<Receiver<Job>>) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        // Who waits for it may have met an error elsewhere and be gone.
        let _ = job.done.send(deflate(&job));
    }
}

/// A block as part of one deflated stream: all but the last end on a byte's border.
fn deflate(job: &Job) -> io::Result<Deflated> {
    let mut crc = Crc::new();
    crc.update(&job.block);
    let mut compress = Compress::new(Compression::new(LEVEL), false);
    if !job.dictionary.is_empty() {
        compress.set_dictionary(&job.dictionary).map_err(io::Error::other)?;
    }
    let flush = if job.is_last { FlushCompress::Finish } else { FlushCompress::Sync };
    // What does not compress grows by five bytes for each 16 KiB, and the border takes five.
    let mut bytes = Vec::with_capacity(job.block.len() + job.block.len() / 1000 + 64);
    loop {
        let read = usize::try_from(compress.total_in()).unwrap_or(usize::MAX).min(job.block.len());
        let status =
            compress.compress_vec(&job.block[read..], &mut bytes, flush).map_err(io::Error::other)?;
        let ended = if job.is_last {
            status == flate2::Status::StreamEnd
        } else {
            // Room that is left says that all of it came out.
            compress.total_in() == job.block.len() as u64 && bytes.len() < bytes.capacity()
        };
        if ended {
            return Ok(Deflated { bytes, crc });
        }
        bytes.reserve(WINDOW);
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
