//! How long the calls take that stand on the path of a start. Left out of ordinary runs:
//! `cargo test -p corten-network --test it speed -- --ignored --nocapture`.

use crate::world::*;
use corten_network::{Attachment, NetworkManager};
use std::time::{Duration, Instant};

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[test]
#[ignore = "a measurement"]
fn calls_on_the_path_of_a_start() {
    with_world(|world| {
        let started = Instant::now();
        let mut settings = world.settings();
        if std::env::var_os("DOCKERS_WAY").is_some() {
            settings.firewall = corten_network::FirewallMode::Docker;
        }
        let manager = NetworkManager::open(settings).unwrap();
        let opened = started.elapsed();
        let begun = Instant::now();
        manager.ensure_network(&network("a", BRIDGE, "172.17.0.0/16")).unwrap();
        let ensured = begun.elapsed();
        let (mut created, mut published, mut removed, mut filled, mut bare) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..60 {
            let begun = Instant::now();
            manager.settle();
            filled.push(begun.elapsed());
            // The caches are as cold as in a daemon that slept; what is measured is the work.
            manager.warnings();
            let begun = Instant::now();
            let sandbox = sandbox(&manager, "c");
            created.push(begun.elapsed());
            let begun = Instant::now();
            manager.publish(&sandbox.id, &[mapping("8080:80")]).unwrap();
            published.push(begun.elapsed());
            let begun = Instant::now();
            manager.remove_sandbox(&sandbox.id).unwrap();
            removed.push(begun.elapsed());
            let begun = Instant::now();
            let request = request("n", Attachment::None);
            let sandbox = manager.create_sandbox(&request).unwrap();
            bare.push(begun.elapsed());
            manager.remove_sandbox(&sandbox.id).unwrap();
        }
        // Without waiting for the pool.
        let begun = Instant::now();
        for _ in 0..40 {
            let sandbox = sandbox(&manager, "burst");
            manager.remove_sandbox(&sandbox.id).unwrap();
        }
        let burst = begun.elapsed() / 40;
        let (created, published, removed) = (median(created), median(published), median(removed));
        eprintln!(
            "open {opened:?}, ensure {ensured:?}; create {created:?}, publish {published:?}, remove {removed:?}, none {:?}; \
             settle after one {:?}; create and remove in a row {burst:?}",
            median(bare),
            median(filled)
        );
    });
}

#[test]
#[ignore = "a measurement"]
fn names_are_answered_quickly() {
    use corten_network::names::{Membership, ResolverSettings};
    use std::net::UdpSocket;
    with_world(|world| {
        let manager = world.manager();
        manager.ensure_network(&network("b", "br-b", "172.18.0.0/16")).unwrap();
        let container = sandbox_on(&manager, "asked", on("b"));
        let mut served = Vec::new();
        for _ in 0..60 {
            let sandbox = sandbox_on(&manager, "served", on("b"));
            manager.settle();
            let begun = Instant::now();
            let namespace = sandbox.namespace.try_clone().unwrap();
            manager.names().serve(&sandbox.id, namespace, ResolverSettings::default()).unwrap();
            served.push(begun.elapsed());
            manager.remove_sandbox(&sandbox.id).unwrap();
        }
        let namespace = container.namespace.try_clone().unwrap();
        manager.names().serve(&container.id, namespace, ResolverSettings::default()).unwrap();
        let membership = Membership {
            network_id: "b".repeat(64),
            network_name: "net-b".to_owned(),
            addresses: vec![[172, 18, 0, 2].into()],
            names: vec!["asked".to_owned()],
            links: Vec::new(),
        };
        manager.names().join(&container.id, membership);
        let answers = inside(&container.namespace, || {
            const WINDOW: usize = 32;
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.connect("127.0.0.11:53").unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
            let query = b"\0\x01\x01\0\0\x01\0\0\0\0\0\0\x05asked\0\0\x01\0\x01";
            for _ in 0..WINDOW {
                socket.send(query).unwrap();
            }
            let mut reply = [0; 128];
            let begun = Instant::now();
            let mut answers = 0_u32;
            while begun.elapsed() < Duration::from_millis(500) {
                assert!(socket.recv(&mut reply).is_ok_and(|length| length > query.len() && reply[7] == 1));
                socket.send(query).unwrap();
                answers += 1;
            }
            f64::from(answers) / begun.elapsed().as_secs_f64()
        });
        eprintln!("names: {answers:.0} answers a second; serve {:?}", median(served));
    });
}
