//! A document's limits as properties of a unit.

use std::collections::BTreeMap;

use corten_oci::runtime::LinuxResources;

use super::bus::{Property, SystemdError};
use super::message::Value;
use crate::cgroup::limits::{swap_alone, weight};

/// What an annotation begins with that is a property.
const PREFIX: &str = "org.systemd.property.";

/// systemd keeps a quota in whole hundredths of a processor.
const QUOTA_STEP: u64 = 10_000;

/// Those that systemd has a property for, with the names of cgroup version 1 or 2.
pub(super) fn properties(limits: &LinuxResources, legacy: bool) -> Vec<Property> {
    let mut found: Vec<(&str, Value)> = Vec::new();
    let unlimited = |value: i64, least: i64| if value < least { u64::MAX } else { value as u64 };
    if let Some(memory) = &limits.memory {
        if let Some(limit) = memory.limit {
            let name = if legacy { "MemoryLimit" } else { "MemoryMax" };
            found.push((name, Value::Number64(unlimited(limit, 1))));
        }
        if let Some(reservation) = memory.reservation.filter(|_| !legacy) {
            found.push(("MemoryLow", Value::Number64(unlimited(reservation, 0))));
        }
        if let Some(swap) = memory.swap.filter(|swap| *swap != 0 && !legacy) {
            let alone = unlimited(swap_alone(memory.limit, swap), 0);
            found.push(("MemorySwapMax", Value::Number64(alone)));
        }
    }
    if let Some(cpu) = &limits.cpu {
        if let Some(shares) = cpu.shares.filter(|shares| *shares != 0) {
            found.push(if legacy {
                ("CPUShares", Value::Number64(shares))
            } else {
                ("CPUWeight", Value::Number64(weight(shares)))
            });
        }
        let period = cpu.period.filter(|period| *period != 0);
        if let Some(period) = period {
            found.push(("CPUQuotaPeriodUSec", Value::Number64(period)));
        }
        if let Some(quota) = cpu.quota.filter(|quota| *quota != 0) {
            let each_second = match u64::try_from(quota) {
                Ok(quota) => {
                    let exact = u128::from(quota) * 1_000_000 / u128::from(period.unwrap_or(100_000));
                    u64::try_from(exact).unwrap_or(u64::MAX - QUOTA_STEP).next_multiple_of(QUOTA_STEP)
                }
                Err(_) => u64::MAX,
            };
            found.push(("CPUQuotaPerSecUSec", Value::Number64(each_second)));
        }
        if !legacy {
            for (name, list) in [("AllowedCPUs", &cpu.cpus), ("AllowedMemoryNodes", &cpu.mems)] {
                // One that cannot be read is refused where the kernel is told it.
                if let Some(bits) = list.as_deref().filter(|list| !list.is_empty()).and_then(bits) {
                    found.push((name, Value::Bytes(bits)));
                }
            }
        }
    }
    if let Some(pids) = &limits.pids {
        found.push(("TasksMax", Value::Number64(unlimited(pids.limit, 1))));
    }
    found.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// `0-2,7` as a bit for each number, the lowest first.
fn bits(list: &str) -> Option<Vec<u8>> {
    let mut bits = Vec::new();
    for range in list.trim().split(',').filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        // More than any kernel counts.
        if first > last || last >= 1 << 16 {
            return None;
        }
        bits.resize(bits.len().max(last / 8 + 1), 0_u8);
        (first..=last).for_each(|number| bits[number / 8] |= 1 << (number % 8));
    }
    (!bits.is_empty()).then_some(bits)
}

/// The properties that annotations give, as runc reads them: `org.systemd.property.TimeoutStopUSec: uint64 5000000`,
/// in the text form of GVariant.
pub(super) fn annotated(annotations: &BTreeMap<String, String>) -> Result<Vec<Property>, SystemdError> {
    let named = annotations.iter().filter_map(|(key, text)| Some((key.strip_prefix(PREFIX)?, text)));
    named
        .map(|(name, text)| {
            let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphabetic());
            let value = value(text.trim()).filter(|_| plain);
            let value = value.ok_or_else(|| SystemdError::Property(format!("{name}={text}")))?;
            // Seconds are a form of the command line; on the wire they are microseconds.
            Ok(match (name.strip_suffix("Sec").filter(|name| !name.ends_with('U')), value) {
                (Some(stem), Value::Number64(seconds)) => {
                    (format!("{stem}USec"), Value::Number64(seconds.saturating_mul(1_000_000)))
                }
                (Some(stem), Value::Signed32(seconds)) if seconds >= 0 => {
                    (format!("{stem}USec"), Value::Number64(seconds as u64 * 1_000_000))
                }
                (_, value) => (name.to_owned(), value),
            })
        })
        .collect()
}

fn value(text: &str) -> Option<Value> {
    if let Some(quoted) = text.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
        return (!quoted.contains(['\'', '\\', '\0'])).then(|| Value::Text(quoted.to_owned()));
    }
    let (kind, number) = text.split_once(char::is_whitespace).unwrap_or(("int32", text));
    Some(match (kind, number.trim()) {
        (_, "true") => Value::Flag(true),
        (_, "false") => Value::Flag(false),
        ("uint64", number) => Value::Number64(number.parse().ok()?),
        ("int64", number) => Value::Signed64(number.parse().ok()?),
        ("uint32", number) => Value::Number32(number.parse().ok()?),
        ("int32", number) => Value::Signed32(number.parse().ok()?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use corten_oci::runtime::{LinuxCpu, LinuxMemory, LinuxPids};

    use super::*;

    fn texts(properties: &[Property]) -> Vec<String> {
        properties.iter().map(|(name, value)| format!("{name}={value:?}")).collect()
    }

    #[test]
    fn limits_have_systemds_names() {
        let limits = LinuxResources {
            memory: Some(LinuxMemory {
                limit: Some(64),
                swap: Some(96),
                reservation: Some(-1),
                ..Default::default()
            }),
            cpu: Some(LinuxCpu {
                shares: Some(1024),
                quota: Some(25_001),
                period: Some(100_000),
                cpus: Some("0-1,9".to_owned()),
                ..Default::default()
            }),
            pids: Some(LinuxPids { limit: 0 }),
            ..Default::default()
        };
        assert_eq!(
            texts(&properties(&limits, false)),
            [
                "MemoryMax=Number64(64)",
                "MemoryLow=Number64(18446744073709551615)",
                "MemorySwapMax=Number64(32)",
                "CPUWeight=Number64(100)",
                "CPUQuotaPeriodUSec=Number64(100000)",
                "CPUQuotaPerSecUSec=Number64(260000)",
                "AllowedCPUs=Bytes([3, 2])",
                "TasksMax=Number64(18446744073709551615)",
            ]
        );
        let legacy = texts(&properties(&limits, true));
        assert_eq!(legacy[..2], ["MemoryLimit=Number64(64)", "CPUShares=Number64(1024)"]);
        let none = LinuxResources {
            cpu: Some(LinuxCpu { quota: Some(-1), ..Default::default() }),
            ..Default::default()
        };
        assert_eq!(texts(&properties(&none, false)), ["CPUQuotaPerSecUSec=Number64(18446744073709551615)"]);
    }

    #[test]
    fn lists_of_processors_are_bits() {
        assert_eq!(bits("0"), Some(vec![1]));
        assert_eq!(bits("8-10"), Some(vec![0, 7]));
        for bad in ["", "x", "3-1", "0-99999999", "-"] {
            assert_eq!(bits(bad), None, "{bad}");
        }
    }

    #[test]
    fn annotations_become_properties() {
        let read = |key: &str, text: &str| {
            let annotations =
                BTreeMap::from([(format!("{PREFIX}{key}"), text.to_owned()), ("x".into(), "y".into())]);
            annotated(&annotations).map(|all| texts(&all).join(" "))
        };
        assert_eq!(
            read("CollectMode", "'inactive-or-failed'").unwrap(),
            "CollectMode=Text(\"inactive-or-failed\")"
        );
        assert_eq!(read("TimeoutStopUSec", "uint64 5").unwrap(), "TimeoutStopUSec=Number64(5)");
        assert_eq!(read("TimeoutStopSec", "uint64 5").unwrap(), "TimeoutStopUSec=Number64(5000000)");
        assert_eq!(read("SendSIGHUP", "true").unwrap(), "SendSIGHUP=Flag(true)");
        for (key, text) in [("X", "'a"), ("X", "uint64 -1"), ("X-Y", "true"), ("", "true"), ("X", "['a']")] {
            assert!(read(key, text).is_err(), "{key} {text}");
        }
    }
}
