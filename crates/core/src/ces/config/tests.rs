//! The choice moves as the table of `config` says, fits everywhere, and is the usual one on a usual machine.

use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};

use super::{CURVE, Caps, CesConfig, Conditions, LEVELS, WINDOW_CHUNKS_MAX, level, write_bytes_s};
use crate::ces::CompressPolicy;
use crate::chunk::{Aead, Code, Codec};
use crate::chunker::{self, BLOB_BYTES_MAX, TooLong, chunk_bytes_max};

const USUAL: Conditions = Conditions {
    code: Code::new(10, 4).expect("a valid code"),
    bandwidth: None,
    latency_us: 1000,
    cpu_load: 0,
    ram_bytes: 128 << 20,
    file_bytes: None,
    caps: Caps { has_aes: true, cores: 2 },
};

fn choose(conditions: Conditions) -> CesConfig {
    CesConfig::choose(&conditions).expect("no longer than a blob")
}

fn code() -> impl Strategy<Value = Code> {
    proptest::prop_oneof![
        4 => (1u8..20, 0u8..6),
        1 => proptest::sample::select(vec![(255, 0), (1, 254), (29, 51), (200, 55)]),
    ]
    .prop_map(|(k, m)| Code::new(k, m).expect("a valid code"))
}

/// Numbers of every magnitude up to `max`.
fn log_to(max: u64) -> impl Strategy<Value = u64> {
    (0.0..1.0f64).prop_map(move |part| (max as f64).powf(part) as u64)
}

fn conditions() -> impl Strategy<Value = Conditions> {
    let file = proptest::option::of(log_to(BLOB_BYTES_MAX));
    let network = (proptest::option::of(log_to(1 << 40)), log_to(10_000_000));
    (code(), network, 0u8..=120, log_to(1 << 42), file, any::<bool>(), 0u16..300).prop_map(
        |(code, (bandwidth, latency_us), cpu_load, ram_bytes, file_bytes, has_aes, cores)| Conditions {
            code,
            bandwidth,
            latency_us: latency_us as u32,
            cpu_load,
            ram_bytes,
            file_bytes,
            caps: Caps { has_aes, cores },
        },
    )
}

fn level_of(config: &CesConfig) -> u8 {
    match config.compress {
        CompressPolicy::Zstd { level } => level,
        CompressPolicy::Never => 0,
    }
}

proptest! {
    #[test]
    fn every_choice_can_be_written(conditions in conditions()) {
        let config = choose(conditions);
        let most = chunk_bytes_max(conditions.code);
        prop_assert!((1..=most).contains(&config.chunk_bytes), "{:?}", config);
        prop_assert!(config.chunk_bytes <= config.chunk_bytes_max.max(4096));
        let shape = chunker::fit(conditions.code, config.aead, Codec::Raw, config.chunk_bytes, config.chunk_bytes);
        prop_assert_eq!(shape.map(|s| s.shard_bytes()), Some(config.shard_bytes as usize));
        prop_assert!((1..=WINDOW_CHUNKS_MAX).contains(&config.window_chunks()));
        prop_assert!(config.window_bytes >= u64::from(config.chunk_bytes));
        prop_assert!((1..=9).contains(&level_of(&config)));
        prop_assert_eq!(config.aead, Aead::pick(conditions.caps.has_aes));
        // One request leaves room for others, unless a single full chunk is more.
        let (k, n) = (u64::from(conditions.code.k()), u64::from(conditions.code.n()));
        let taken = config.window_bytes * (k + n) / k;
        prop_assert!(taken <= conditions.ram_bytes / 8 || config.window_bytes <= u64::from(most));
    }

    #[test]
    fn more_bandwidth_makes_chunks_no_larger_levels_no_higher_and_windows_no_smaller(
        at in conditions(), a in log_to(1 << 40), b in log_to(1 << 40),
    ) {
        let [less, more] = [a.min(b), a.max(b)].map(|b| choose(Conditions { bandwidth: Some(b), ..at }));
        prop_assert!(more.chunk_bytes_max <= less.chunk_bytes_max);
        prop_assert!(level_of(&more) <= level_of(&less));
        prop_assert!(more.window_bytes >= less.window_bytes || less.window_bytes == u64::from(less.chunk_bytes));
    }

    #[test]
    fn more_latency_only_widens_the_window(at in conditions(), a: u32, b: u32) {
        let [less, more] = [a.min(b), a.max(b)].map(|latency_us| choose(Conditions { latency_us, ..at }));
        prop_assert!(more.window_bytes >= less.window_bytes);
        prop_assert_eq!(CesConfig { window_bytes: 0, ..more }, CesConfig { window_bytes: 0, ..less });
    }

    #[test]
    fn a_busier_cpu_does_less_for_each_byte(at in conditions(), a in 0u8..=100, b in 0u8..=100) {
        let [idle, busy] = [a.min(b), a.max(b)].map(|cpu_load| choose(Conditions { cpu_load, ..at }));
        prop_assert!(busy.chunk_bytes_max >= idle.chunk_bytes_max);
        prop_assert!(level_of(&busy) <= level_of(&idle));
        prop_assert!(busy.window_bytes <= idle.window_bytes);
    }

    #[test]
    fn more_ram_makes_nothing_smaller(at in conditions(), a in log_to(1 << 42), b in log_to(1 << 42)) {
        let [small, large] = [a.min(b), a.max(b)].map(|ram_bytes| choose(Conditions { ram_bytes, ..at }));
        prop_assert!(large.chunk_bytes_max >= small.chunk_bytes_max);
        prop_assert!(large.window_bytes >= small.window_bytes || small.window_bytes == u64::from(small.chunk_bytes));
        prop_assert_eq!(large.compress, small.compress);
    }

    #[test]
    fn a_longer_file_makes_nothing_smaller(at in conditions(), a in log_to(BLOB_BYTES_MAX), b in log_to(BLOB_BYTES_MAX)) {
        let [short, long] = [a.min(b), a.max(b)].map(|bytes| choose(Conditions { file_bytes: Some(bytes), ..at }));
        prop_assert!(long.chunk_bytes_max >= short.chunk_bytes_max);
        prop_assert!(long.window_bytes >= short.window_bytes || short.window_bytes == u64::from(short.chunk_bytes));
        prop_assert_eq!(long.compress, short.compress);
    }
}

#[test]
fn the_tables_are_in_order() {
    assert!(CURVE.windows(2).all(|pair| pair[0].0 < pair[1].0));
    assert!(LEVELS.windows(2).all(|pair| pair[0].0 > pair[1].0 && pair[0].1 < pair[1].1));
    for (bytes, mb_s) in CURVE {
        assert_eq!(write_bytes_s(bytes, Aead::Aes256Gcm), u64::from(mb_s) * 1_000_000);
        assert!(write_bytes_s(bytes, Aead::XChaCha20Poly1305) < u64::from(mb_s) * 1_000_000);
    }
    assert_eq!(write_bytes_s(4 << 20, Aead::Aes256Gcm), (3990 + 4381) / 2 * 1_000_000);
}

#[test]
fn a_usual_machine_writes_full_chunks_and_a_small_one_streams_in_64_kib() {
    let full = chunk_bytes_max(USUAL.code);
    let of = |ram_bytes| choose(Conditions { ram_bytes, ..USUAL });
    assert_eq!((of(128 << 20).chunk_bytes, of(128 << 20).window_chunks()), (full, 1));
    assert_eq!((of(1 << 30).chunk_bytes, of(1 << 30).window_chunks()), (full, 6));
    let small = of(1 << 20);
    assert!((60_000..=65_536).contains(&small.chunk_bytes), "{small:?}");
    assert_eq!(small.window_chunks(), 1);
}

#[test]
fn levels_follow_what_is_left_of_the_cpu() {
    let mb_s = |mb_s: u64| Some(mb_s * 1_000_000);
    let levels = |load, cores| {
        [None, mb_s(10), mb_s(90), mb_s(200), mb_s(400), mb_s(5000)].map(|b| level(b, load, cores))
    };
    assert_eq!(levels(0, 2), [1, 9, 7, 3, 1, 1]);
    assert_eq!(levels(50, 2), [1, 9, 3, 1, 1, 1]);
    assert_eq!(levels(100, 2), [1; 6]);
    assert_eq!(levels(0, 64), [1, 9, 9, 9, 9, 5]);
}

#[test]
fn a_link_faster_than_a_core_is_served_by_several() {
    let of = |bandwidth, cpu_load| {
        let caps = Caps { has_aes: true, cores: 8 };
        choose(Conditions {
            bandwidth,
            cpu_load,
            caps,
            file_bytes: Some(12 << 20),
            ram_bytes: 1 << 30,
            ..USUAL
        })
    };
    assert_eq!(of(Some(1 << 30), 0).chunk_bytes_max, chunk_bytes_max(USUAL.code));
    assert_eq!(of(Some(16 << 30), 0).chunk_bytes_max, 3 << 20);
    assert_eq!(of(Some(16 << 30), 100).chunk_bytes_max, chunk_bytes_max(USUAL.code));
}

#[test]
fn what_is_longer_than_any_blob_is_refused() {
    let bytes = BLOB_BYTES_MAX + 1;
    let refused = CesConfig::choose(&Conditions { file_bytes: Some(bytes), ..USUAL });
    assert_eq!(refused, Err(TooLong { bytes }));
}
