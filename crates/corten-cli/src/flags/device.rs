//! Devices, their limits, and GPUs.

use super::mount::csv;
use super::number;
use corten_api::container::{DeviceMapping, DeviceRequest, ThrottleDevice, WeightDevice};

/// Devices by path, and those named by a vendor (CDI).
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Devices {
    pub(crate) mappings: Vec<DeviceMapping>,
    pub(crate) requests: Vec<DeviceRequest>,
}

/// `--device host[:container[:rwm]]`, or `vendor/class=name`.
pub(crate) fn parse(flags: &[String]) -> Result<Devices, String> {
    let mut devices = Devices::default();
    let mut named = Vec::new();
    for flag in flags {
        if is_named(flag) {
            named.push(flag.clone());
            continue;
        }
        let parts: Vec<&str> = flag.split(':').collect();
        let is_mode = |text: &str| {
            !text.is_empty()
                && text.bytes().all(|byte| matches!(byte, b'r' | b'w' | b'm'))
                && ["r", "w", "m"].iter().all(|letter| text.matches(letter).count() < 2)
        };
        let (host, container, mode) = match parts[..] {
            [host] => (host, host, "rwm"),
            [host, second] if is_mode(second) => (host, host, second),
            [host, second] => (host, second, "rwm"),
            [host, container, mode] => (host, container, mode),
            _ => return Err(format!("bad format for path: {flag}")),
        };
        if host.is_empty() {
            return Err(format!("bad format for path: {flag}"));
        }
        if !is_mode(mode) {
            return Err(format!("bad mode specified: {mode}"));
        }
        if !container.starts_with('/') {
            return Err(format!("{container} is not an absolute path"));
        }
        devices.mappings.push(DeviceMapping {
            path_on_host: host.to_owned(),
            path_in_container: container.to_owned(),
            cgroup_permissions: mode.to_owned(),
        });
    }
    if !named.is_empty() {
        devices.requests.push(DeviceRequest {
            driver: "cdi".to_owned(),
            device_ids: Some(named),
            ..DeviceRequest::default()
        });
    }
    Ok(devices)
}

/// `--device-cgroup-rule "c 1:3 rwm"`.
pub(crate) fn cgroup_rule(text: &str) -> Result<String, String> {
    let is_number =
        |text: &str| text == "*" || (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
    let is_rule = match text.split(' ').collect::<Vec<_>>()[..] {
        [kind, numbers, access] => {
            matches!(kind, "a" | "b" | "c")
                && numbers.split_once(':').is_some_and(|(major, minor)| is_number(major) && is_number(minor))
                && (1..=3).contains(&access.len())
                && access.bytes().all(|byte| b"rwm".contains(&byte))
        }
        _ => false,
    };
    if is_rule { Ok(text.to_owned()) } else { Err(format!("invalid device cgroup format '{text}'")) }
}

/// Whether it is `vendor.example/class=name` rather than a path.
fn is_named(flag: &str) -> bool {
    !flag.starts_with('/')
        && flag
            .split_once('=')
            .is_some_and(|(kind, name)| kind.contains('/') && !name.is_empty() && !kind.contains(':'))
}

/// `--gpus all`, `--gpus 2`, `--gpus device=0,capabilities=utility`.
pub(crate) fn gpus(text: &str) -> Result<DeviceRequest, String> {
    let mut request =
        DeviceRequest { options: Some(std::collections::BTreeMap::new()), ..DeviceRequest::default() };
    let count = |text: &str| -> Result<i64, String> {
        if text == "all" {
            return Ok(-1);
        }
        text.parse().map_err(|_| {
            format!("invalid count ({text}): value must be either \"all\" or an integer: invalid syntax")
        })
    };
    if text.is_empty() {
        return Err("EOF".to_owned());
    }
    let mut counted = false;
    let mut capabilities: Vec<String> = Vec::new();
    for field in csv(text)? {
        match field.split_once('=') {
            None => {
                request.count = count(&field)?;
                counted = true;
            }
            Some(("count", value)) => {
                request.count = count(value)?;
                counted = true;
            }
            Some(("driver", value)) => value.clone_into(&mut request.driver),
            Some(("device", value)) => {
                request.device_ids = Some(value.split(',').map(str::to_owned).collect());
            }
            Some(("capabilities", value)) => capabilities.extend(value.split(',').map(str::to_owned)),
            Some(("options", value)) => {
                let options = value.split(',').map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (name.to_owned(), value.to_owned())
                });
                request.options = Some(options.collect());
            }
            Some((key, _)) => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    if !counted && request.device_ids.is_none() {
        request.count = 1;
    }
    if !capabilities.iter().any(|capability| capability == "gpu") {
        capabilities.push("gpu".to_owned());
    }
    request.capabilities = Some(vec![capabilities]);
    Ok(request)
}

/// A `--gpus` that can be read.
pub(crate) fn checked_gpus(text: &str) -> Result<String, String> {
    gpus(text).map(|_| text.to_owned())
}

/// `path:weight`.
pub(crate) fn weight(text: &str) -> Result<WeightDevice, String> {
    let bad = || format!("bad format: {text}");
    let (path, weight) = text.split_once(':').ok_or_else(bad)?;
    if !path.starts_with("/dev/") {
        return Err(format!("bad format for device path: {text}"));
    }
    let weight: u16 = weight.parse().map_err(|_| format!("invalid weight for device: {text}"))?;
    if weight > 0 && !(10..=1000).contains(&weight) {
        return Err(format!("invalid weight for device: {text}"));
    }
    Ok(WeightDevice { path: path.to_owned(), weight })
}

/// `path:rate`, the rate in bytes with a suffix or in operations.
pub(crate) fn throttle(text: &str) -> Result<ThrottleDevice, String> {
    let (path, rate) = text.split_once(':').ok_or_else(|| format!("bad format: {text}"))?;
    if !path.starts_with("/dev/") {
        return Err(format!("bad format for device path: {text}"));
    }
    let rate = number::bytes(rate).map_err(|_| {
        format!("invalid rate for device: {text}. The correct format is <device-path>:<number>[<unit>]. Number must be a positive integer. Unit is optional and can be kb, mb, or gb")
    })?;
    Ok(ThrottleDevice { path: path.to_owned(), rate: rate.unsigned_abs() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_have_a_second_name_and_a_mode() {
        for (flag, expected) in [
            ("/dev/null", "/dev/null /dev/null rwm"),
            ("/dev/null:r", "/dev/null /dev/null r"),
            ("/dev/null:/dev/x", "/dev/null /dev/x rwm"),
            ("/dev/null:/dev/x:rm", "/dev/null /dev/x rm"),
        ] {
            let devices = parse(&[flag.to_owned()]).unwrap();
            let device = &devices.mappings[0];
            let got =
                format!("{} {} {}", device.path_on_host, device.path_in_container, device.cgroup_permissions);
            assert_eq!(got, expected);
        }
        for (flag, why) in [
            ("/dev/null:/x:rr", "bad mode specified: rr"),
            ("", "bad format for path: "),
            (":/x", "bad format for path: :/x"),
            ("a:b:c:d", "bad format for path: a:b:c:d"),
            ("relative", "relative is not an absolute path"),
            ("/dev/null:x", "x is not an absolute path"),
            ("/dev/null::rw", " is not an absolute path"),
        ] {
            assert_eq!(parse(&[flag.to_owned()]).unwrap_err(), why);
        }
        for rule in ["c 1:3 rwm", "a *:* m"] {
            assert_eq!(cgroup_rule(rule).unwrap(), rule);
        }
        for rule in ["", "c 1:3 rwmx", "x 1:3 r", "c 1 r", "c 1:3", "c  1:3 r"] {
            assert_eq!(cgroup_rule(rule).unwrap_err(), format!("invalid device cgroup format '{rule}'"));
        }
        assert_eq!(parse(&["vendor.com/class=a".to_owned()]).unwrap().requests.len(), 1);
    }

    #[test]
    fn gpus_are_counted_or_named() {
        assert_eq!(gpus("all").unwrap().count, -1);
        assert_eq!(gpus("2").unwrap().count, 2);
        assert_eq!(gpus("\"device=0,1\"").unwrap().device_ids.unwrap(), ["0", "1"]);
        assert!(gpus("some").is_err());
    }
}
