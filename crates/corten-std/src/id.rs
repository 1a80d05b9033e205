//! Identifiers: 64 hexadecimal digits from the kernel's random source, as Docker's.

/// 32 random bytes as 64 lower-case hexadecimal digits. Never 12 decimal digits at its head, because such a
/// short form reads as a number (Docker draws again for the same reason: a host name of digits only confuses programs).
pub fn random_id() -> String {
    loop {
        let id = hex(&random_bytes::<32>());
        if !id.as_bytes()[..12].iter().all(u8::is_ascii_digit) {
            return id;
        }
    }
}

/// `N` bytes from getrandom(2).
///
/// # Panics
/// Where the kernel has no random source at all, which does not happen on Linux ≥ 3.17.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0_u8; N];
    let mut filled = 0;
    while filled < N {
        match rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("getrandom: {error}"),
        }
    }
    bytes
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)] as char);
        text.push(DIGITS[usize::from(byte & 15)] as char);
    }
    text
}

/// The first 12 digits, the form that people see; a `sha256:` or `sha512:` in front is left out.
pub fn short(id: &str) -> &str {
    let id = id.strip_prefix("sha256:").or_else(|| id.strip_prefix("sha512:")).unwrap_or(id);
    id.get(..12).unwrap_or(id)
}

/// Whether a text is 64 lower-case hexadecimal digits.
pub fn is_full(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_full_and_shorten() {
        let id = random_id();
        assert!(is_full(&id), "{id}");
        assert_eq!(short(&id).len(), 12);
        assert_eq!(short("sha256:0123456789abcdef"), "0123456789ab");
        assert_eq!(hex(&[0, 255, 16]), "00ff10");
    }
}
