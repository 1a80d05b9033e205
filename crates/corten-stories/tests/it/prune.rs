//! Prunes: what they take, what they say, and the event behind each.

use crate::daemon;

#[test]
fn prunes_take_what_is_older_and_tell_of_it() {
    let Some(daemon) = daemon("prune") else { return };
    let since = corten_std::Timestamp::now().unix_seconds().to_string();
    daemon.ok(&["run", "--name", "wrote", "busybox", "sh", "-c", "head -c 70000 /dev/zero > /file"]);
    daemon.ok(&["create", "--name", "labelled", "--label", "keep", "busybox"]);
    daemon.ok(&["run", "-d", "--name", "runs", "busybox", "sleep", "100"]);
    // Made today: nothing is older than a day of the past, in any notation.
    for until in ["2020-01-01", "2020-01-01T10:00", "24h", "1600000000"] {
        let said = daemon.ok(&["container", "prune", "-f", "--filter", &format!("until={until}")]);
        assert_eq!(said, "Total reclaimed space: 0B", "{until}");
    }
    let refused = daemon.corten(&["container", "prune", "-f", "--filter", "until=yesterday"]);
    assert!(
        refused.err.contains("failed to parse value as time or duration: \"yesterday\""),
        "{}",
        refused.err
    );
    let said = daemon.ok(&["container", "prune", "-f", "--filter", "label!=keep"]);
    assert!(said.ends_with("Total reclaimed space: 70kB"), "{said}");
    assert_eq!(daemon.ok(&["ps", "-a", "--format", "{{.Names}}"]), "runs\nlabelled");
    daemon.ok(&["network", "prune", "-f"]);
    daemon.ok(&["volume", "prune", "-f"]);
    daemon.ok(&["image", "prune", "-f"]);
    let until = (corten_std::Timestamp::now().unix_seconds() + 1).to_string();
    let events = daemon.ok(&[
        "events",
        "--since",
        &since,
        "--until",
        &until,
        "--filter",
        "event=prune",
        "--format",
        "{{.Type}} {{.Actor.Attributes.reclaimed}}",
    ]);
    let expected =
        ["container 0"; 4].into_iter().chain(["container 70000", "network 0", "volume 0", "image 0"]);
    assert_eq!(events, expected.collect::<Vec<_>>().join("\n"));
}
