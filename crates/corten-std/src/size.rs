//! Sizes as Docker prints and reads them.

/// Decimal units with four significant digits, as in `1.98MB` (what `docker images` prints).
pub fn human(bytes: f64) -> String {
    with_units(bytes, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"], 4)
}

/// As [`human`] with three significant digits (what `docker ps -s` and `system df` print).
pub fn human_short(bytes: f64) -> String {
    with_units(bytes, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"], 3)
}

/// Binary units with four significant digits, as in `23.54GiB` (what `docker stats` and `info` print).
pub fn binary(bytes: f64) -> String {
    with_units(bytes, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"], 4)
}

fn with_units(mut value: f64, base: f64, units: &[&str], digits: usize) -> String {
    let mut unit = 0;
    while value >= base && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    format!("{}{}", significant(value, digits), units[unit])
}

/// C's `%.*g` for values ≥ 0 below 10^digits: that many significant digits, no trailing zeros.
fn significant(value: f64, digits: usize) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    // The exponent after rounding: 999.96 with four digits is 1000.
    let scientific = format!("{:.*e}", digits - 1, value);
    let exponent: i32 = scientific.split('e').nth(1).and_then(|text| text.parse().ok()).unwrap_or(0);
    if exponent >= digits as i32 {
        let mantissa =
            scientific.split('e').next().unwrap_or("0").trim_end_matches('0').trim_end_matches('.');
        return format!("{mantissa}e+{exponent:02}");
    }
    let decimals = (digits as i32 - 1 - exponent).max(0) as usize;
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// Reads a size with an optional binary suffix, as Docker's `--memory`: `512`, `512m`, `1.5g`, `64kb`, `1GiB`.
/// Gives bytes; nothing where the text is no such size.
pub fn parse_bytes(text: &str) -> Option<i64> {
    let end = text.find(|letter: char| !(letter.is_ascii_digit() || letter == '.')).unwrap_or(text.len());
    let number: f64 = text[..end].parse().ok()?;
    let suffix = text[end..].trim_start_matches(' ').to_ascii_lowercase();
    let suffix = suffix.strip_suffix("ib").or_else(|| suffix.strip_suffix('b')).unwrap_or(&suffix);
    let power = match suffix {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    let bytes = number * 1024_f64.powi(power);
    (bytes.is_finite() && bytes < 9.2e18).then_some(bytes as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_print_as_docker_prints_them() {
        for (bytes, text) in [
            (0.0, "0B"),
            (999.0, "999B"),
            (1000.0, "1kB"),
            (1_234_567.0, "1.235MB"),
            (1_980_000.0, "1.98MB"),
            (117_000_000.0, "117MB"),
            (999_960.0, "1000kB"),
        ] {
            assert_eq!(human(bytes), text);
        }
        assert_eq!(binary(25_275_000_000.0), "23.54GiB");
        assert_eq!(human_short(1_234_567.0), "1.23MB");
    }

    #[test]
    fn sizes_are_read_as_docker_reads_them() {
        for (text, bytes) in [
            ("512", Some(512)),
            ("512m", Some(512 << 20)),
            ("1.5g", Some(3 << 29)),
            ("64kb", Some(65536)),
            ("1GiB", Some(1 << 30)),
            ("1 g", Some(1 << 30)),
            ("", None),
            ("g", None),
            ("12x", None),
            ("-1", None),
        ] {
            assert_eq!(parse_bytes(text), bytes, "{text}");
        }
    }
}
