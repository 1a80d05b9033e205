//! Loading, finding, naming, removing and saving images.

use crate::Fixture;
use corten_store::LoadEvent;

#[test]
fn real_images() {
    let Ok(folder) = std::env::var("CORTEN_TEST_IMAGES") else { return };
    for name in ["busybox", "hello-world", "alpine", "debian", "nginx", "python"] {
        let fixture = Fixture::new();
        let begin = std::time::Instant::now();
        let file = std::fs::File::open(format!("{folder}/{name}.tar")).unwrap();
        let mut events = 0;
        let loaded = fixture.store().images().load(file, &mut |_: LoadEvent| events += 1).unwrap();
        let took = begin.elapsed();
        let image = fixture.store().images().resolve(name).unwrap();
        let begin = std::time::Instant::now();
        let mut out = Vec::new();
        fixture.store().images().save(&[name], &mut out).unwrap();
        let saved = begin.elapsed();
        let again = Fixture::new();
        let reloaded = again.store().images().load(out.as_slice(), &mut |_: LoadEvent| ()).unwrap();
        assert_eq!(reloaded[0].id, loaded[0].id);
        println!("{name}: {took:?} load, {saved:?} save, {events} events, {}", image.size);
        for loaded in loaded {
            println!("{loaded}");
        }
    }
}
