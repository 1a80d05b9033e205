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
        let manager = NetworkManager::open(world.settings()).unwrap();
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
