//! What several callers do at once.

use crate::world::*;
use corten_network::SandboxRequest;
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// A manager with the networks a and b.
fn two_networks(world: &World) -> corten_network::NetworkManager {
    let manager = world.manager();
    manager.ensure_network(&network("b", "br-b", "10.8.0.0/24")).unwrap();
    manager
}

/// Restarts hand addresses of dying cables on, while networks are made: both need the accounts and the kernel.
#[test]
fn restarts_and_new_networks_do_not_wait_for_each_other_for_ever() {
    with_world(|world| {
        let manager = Arc::new(two_networks(world));
        let (done, ended) = mpsc::channel();
        let (other, restarted) = (Arc::clone(&manager), done.clone());
        std::thread::spawn(move || {
            for _ in 0..100 {
                let request = SandboxRequest { container_id: "1".repeat(64), ..request("again", on("a")) };
                other.remove_sandbox(&other.create_sandbox(&request).unwrap().id).unwrap();
            }
            restarted.send(()).unwrap();
        });
        std::thread::spawn(move || {
            for _ in 0..1000 {
                manager.ensure_network(&network("a", BRIDGE, "172.17.0.0/16")).unwrap();
            }
            done.send(()).unwrap();
        });
        for _ in 0..2 {
            ended.recv_timeout(Duration::from_mins(1)).expect("both come to their end");
        }
    });
}

/// A container that ends while it is being connected costs the network no address and no place.
#[test]
fn a_sandbox_that_goes_while_it_is_connected_leaves_nothing() {
    with_world(|world| {
        let manager = two_networks(world);
        for round in 0..40_u64 {
            let sandbox = sandbox_on(&manager, "web", on("a"));
            std::thread::scope(|scope| {
                scope.spawn(|| manager.connect(&sandbox.id, &place("b")));
                std::thread::sleep(Duration::from_micros(200 * round));
                manager.remove_sandbox(&sandbox.id).unwrap();
            });
        }
        manager.settle();
        manager.remove_network(&"b".repeat(64)).unwrap();
    });
}
