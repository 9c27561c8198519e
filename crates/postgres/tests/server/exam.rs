//! The exam of every engine, and long histories beside the embedded one and the reference.

use pangea_meta::MemoryMeta;
use pangea_meta::conformance::{conformance, contents, differential};

use super::{database, open, shared};

/// Requests of the longest history here. The soak (`cargo xtask soak postgres`) sends a million.
const OPS: usize = 6_000;

#[test]
fn the_engine_passes() {
    conformance(&|| Box::new(open(&database())));
}

#[test]
fn long_histories_give_equal_outcomes_and_contents() {
    std::thread::scope(|scope| {
        for seed in 900..903 {
            scope.spawn(move || differential(&MemoryMeta::new(), &open(&database()), seed, OPS));
        }
    });
}

#[test]
fn another_open_sees_the_same() {
    let url = database();
    let first = open(&url);
    differential(&MemoryMeta::new(), &first, 7, 500);
    let before = contents(&first, 100);
    let second = open(&url);
    assert_eq!(contents(&second, 100), before);
    first.close();
    assert_eq!(contents(&second, 100), before);
    assert!(shared().port() > 0);
}
