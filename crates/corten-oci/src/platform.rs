//! Platforms (`linux/arm64/v8`) and which of an index's images fits this machine.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Operating system, processor and variant, in Go's words, as images and indexes name them.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// `amd64`, `arm64`, …
    #[serde(default)]
    pub architecture: String,
    /// `linux`, …; `unknown` on attestations.
    #[serde(default)]
    pub os: String,
    /// Windows only.
    #[serde(default, rename = "os.version", skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    /// Windows only.
    #[serde(
        default,
        rename = "os.features",
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "crate::null_as_default"
    )]
    pub os_features: Vec<String>,
    /// `v7` of arm, `v8` of arm64, `v3` of amd64; empty where there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

/// A text that names no platform.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}`: platform specifier must be in the form `<os>[/<arch>[/<variant>]]` or `<arch>`: invalid argument"
)]
pub struct PlatformError(pub String);

impl corten_std::Classified for PlatformError {
    fn class(&self) -> corten_std::ErrorClass {
        corten_std::ErrorClass::InvalidParameter
    }
}

impl Platform {
    /// From its words; aliases are turned into Go's (`x86_64` → `amd64`, `aarch64` → `arm64`).
    pub fn new(os: &str, architecture: &str, variant: &str) -> Self {
        let (architecture, variant) = normalise(architecture, variant);
        Self { os: os.to_ascii_lowercase(), architecture, variant, ..Self::default() }
    }

    /// The platform that this program was built for, which is the machine's.
    pub fn host() -> Self {
        Self::new("linux", std::env::consts::ARCH, "")
    }

    /// Reads `--platform`'s value: `linux/arm64`, `linux/arm/v7`, `arm64`, `linux`.
    pub fn parse(text: &str) -> Result<Self, PlatformError> {
        let fits = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
        };
        let parts: Vec<&str> = text.split('/').collect();
        if parts.len() > 3 || !parts.iter().all(|part| fits(part)) {
            return Err(PlatformError(text.to_owned()));
        }
        let host = Self::host();
        Ok(match parts[..] {
            [one] if KNOWN_OS.contains(&one.to_ascii_lowercase().as_str()) => {
                Self::new(one, &host.architecture, &host.variant)
            }
            [one] => {
                let platform = Self::new("linux", one, "");
                if !KNOWN_ARCHITECTURES.contains(&platform.architecture.as_str()) {
                    return Err(PlatformError(text.to_owned()));
                }
                platform
            }
            [os, architecture] => Self::new(os, architecture, ""),
            [os, architecture, variant] => Self::new(os, architecture, variant),
            _ => return Err(PlatformError(text.to_owned())),
        })
    }

    /// How well an image of platform `offered` suits a wish for `self`: higher is better, none where it
    /// cannot run. An arm machine runs older variants too, amd64 also what is made for 386 (last choice).
    pub fn suits(&self, offered: &Self) -> Option<u32> {
        if !offered.os.is_empty() && self.os != offered.os.to_ascii_lowercase() {
            return None;
        }
        let (wanted, wanted_variant) = normalise(&self.architecture, &self.variant);
        let (architecture, variant) = normalise(&offered.architecture, &offered.variant);
        let level = |text: &str, default: u32| {
            text.strip_prefix('v').and_then(|digits| digits.parse().ok()).unwrap_or(default)
        };
        match (wanted.as_str(), architecture.as_str()) {
            ("amd64", "amd64") => {
                let (wanted, offered) = (level(&wanted_variant, 1), level(&variant, 1));
                (offered <= wanted).then_some(100 + offered)
            }
            ("amd64", "386") => Some(1),
            ("arm64", "arm64") => Some(100),
            ("arm64", "arm") => Some(level(&variant, 7).min(8)),
            ("arm", "arm") => {
                let (wanted, offered) = (level(&wanted_variant, 7), level(&variant, 7));
                (offered <= wanted).then_some(100 + offered)
            }
            (wanted, offered) => (wanted == offered && wanted_variant == variant).then_some(100),
        }
    }
}

const KNOWN_OS: &[&str] = &[
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "illumos",
    "js",
    "linux",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "wasip1",
    "wasi",
    "windows",
];
const KNOWN_ARCHITECTURES: &[&str] = &[
    "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64", "ppc64le",
    "riscv64", "s390x", "wasm",
];

fn normalise(architecture: &str, variant: &str) -> (String, String) {
    let architecture = architecture.to_ascii_lowercase();
    let variant = variant.to_ascii_lowercase();
    match (architecture.as_str(), variant.as_str()) {
        ("i386" | "i686" | "x86", _) => ("386".into(), String::new()),
        ("x86_64" | "x86-64" | "amd64", variant) => {
            ("amd64".into(), if variant == "v1" { String::new() } else { variant.into() })
        }
        ("aarch64" | "arm64", variant) => {
            ("arm64".into(), if matches!(variant, "8" | "v8") { String::new() } else { variant.into() })
        }
        ("armhf", _) => ("arm".into(), "v7".into()),
        ("armel", _) => ("arm".into(), "v6".into()),
        ("arm", "" | "7") => ("arm".into(), "v7".into()),
        ("arm", "5" | "6" | "8") => ("arm".into(), format!("v{variant}")),
        _ => (architecture, variant),
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.os.is_empty() {
            return formatter.write_str("unknown");
        }
        formatter.write_str(&self.os)?;
        for part in [&self.architecture, &self.variant] {
            if !part.is_empty() {
                write!(formatter, "/{part}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_and_printed() {
        let check = |text: &str, wanted: &str| {
            assert_eq!(Platform::parse(text).map(|platform| platform.to_string()).as_deref(), Ok(wanted));
        };
        check("linux/x86_64", "linux/amd64");
        check("linux/arm64/v8", "linux/arm64");
        check("linux/arm", "linux/arm/v7");
        check("arm64", "linux/arm64");
        check("Linux/AMD64", "linux/amd64");
        for text in ["", "/", "linux/", "a/b/c/d", "nonsense", "li nux/amd64"] {
            assert!(Platform::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_best_of_an_index() {
        let best = |wanted: &str, offered: &[&str]| {
            let wanted = Platform::parse(wanted).unwrap();
            offered
                .iter()
                .filter_map(|text| Some((wanted.suits(&Platform::parse(text).unwrap())?, *text)))
                .max_by_key(|(score, _)| *score)
                .map(|(_, text)| text.to_owned())
        };
        assert_eq!(
            best("linux/amd64", &["linux/386", "linux/arm64", "linux/amd64"]).as_deref(),
            Some("linux/amd64")
        );
        assert_eq!(best("linux/amd64", &["linux/amd64/v3", "linux/386"]).as_deref(), Some("linux/386"));
        assert_eq!(
            best("linux/arm/v6", &["linux/arm/v7", "linux/arm/v6", "linux/arm/v5"]).as_deref(),
            Some("linux/arm/v6")
        );
        assert_eq!(best("linux/arm64", &["windows/arm64", "linux/s390x"]), None);
    }
}
