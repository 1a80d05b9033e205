//! Bits in deflate's order: the first is the lowest of its byte.

/// Bytes in the making. At most 63 bits may wait before a [`Bits::flush`].
pub(super) struct Bits {
    bytes: Vec<u8>,
    /// Whole bytes so far; what lies behind is room.
    at: usize,
    waiting: u64,
    /// How many bits of `waiting` count; fewer than 8 after a flush.
    count: u32,
}

impl Bits {
    pub(super) fn new(room: usize) -> Self {
        Self { bytes: vec![0; room], at: 0, waiting: 0, count: 0 }
    }

    /// Makes room for `length` bytes and what waits.
    pub(super) fn reserve(&mut self, length: usize) {
        let needed = self.at + length + 16;
        if self.bytes.len() < needed {
            self.bytes.resize(needed, 0);
        }
    }

    /// Adds the lowest `count` bits of `value`, in which no higher ones are set.
    #[inline]
    pub(super) fn put(&mut self, value: u64, count: u32) {
        self.waiting |= value << self.count;
        self.count += count;
    }

    /// Writes what waits, but for the bits of a byte that is not whole. There must be room.
    #[inline]
    pub(super) fn flush(&mut self) {
        self.bytes[self.at..self.at + 8].copy_from_slice(&self.waiting.to_le_bytes());
        self.at += (self.count >> 3) as usize;
        self.waiting >>= self.count & !7;
        self.count &= 7;
    }

    /// Goes to a byte's border; the bits between are zero.
    pub(super) fn align(&mut self) {
        self.reserve(8);
        self.count = (self.count + 7) & !7;
        self.flush();
    }

    /// The piece after a stored block's head: its length twice and `data`, of at most 65535 bytes.
    pub(super) fn stored(&mut self, data: &[u8]) {
        self.align();
        self.reserve(data.len());
        let length = data.len() as u64;
        self.put(length | (length ^ 0xffff) << 16, 32);
        self.flush();
        self.bytes[self.at..self.at + data.len()].copy_from_slice(data);
        self.at += data.len();
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.align();
        self.bytes.truncate(self.at);
        self.bytes
    }
}
