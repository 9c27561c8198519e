//! The exam of every engine, and long histories beside the embedded one and the reference.

use pangea_core::meta::history::History;
use pangea_core::meta::{MemoryTables, apply};
use pangea_meta::conformance::{conformance, contents, differential, wait};
use pangea_meta::{MemoryMeta, Meta, MetaError};
use pangea_postgres::LoadedRow;

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

#[test]
fn the_rows_of_another_engine_can_be_loaded() {
    let (mut history, mut model, memory) = (History::new(77), MemoryTables::new(), MemoryMeta::new());
    let meta = open(&database());
    for _ in 0..2_000 {
        let request = history.next(&model);
        let Ok(_) = apply(&mut model, &request);
        wait(memory.apply(request)).expect("committed");
    }
    let rows: Vec<LoadedRow> =
        model.dump().map(|(table, key, row)| (table, key.to_vec(), row.to_vec())).collect();
    let chunks: Vec<Vec<LoadedRow>> = rows.chunks(100).map(<[LoadedRow]>::to_vec).collect();
    wait(meta.load(chunks.clone().into_iter())).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(contents(&meta, 100), contents(&memory, 100));
    let again = wait(meta.load(chunks.into_iter()));
    assert!(matches!(&again, Err(MetaError::Unavailable { why }) if why.contains("empty one")), "{again:?}");
    // And it goes on from there as the other one does.
    for _ in 0..500 {
        let request = history.next(&model);
        let Ok(expected) = apply(&mut model, &request);
        assert_eq!(wait(meta.apply(request.clone())).expect("committed"), expected, "{request:?}");
        wait(memory.apply(request)).expect("committed");
    }
    assert_eq!(contents(&meta, 100), contents(&memory, 100));
}
