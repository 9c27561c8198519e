//! Random sequences of all verbs against a model bucket: every answer must be the model's. No socket: a pipe in memory.
//!
//! A difference names its seed and step; the same seed gives the same sequence.

mod bucket;
mod lists;
mod objects;
mod random;
mod uploads;

use std::collections::BTreeMap;
use std::time::Instant;

use tokio::io::{AsyncWriteExt as _, DuplexStream};

use crate::http::{Answer, Ask, read};
use crate::rig::Rig;
use crate::sign::Signer;
use bucket::{Bucket, Keeps};
use random::Random;

/// What goes into the pipe at a time.
const PIPE_BYTES: usize = 256 << 10;
/// Steps between two runs of the workers that free and move bytes.
const STEPS_BETWEEN_WORKERS: usize = 2_000;

/// One client with buckets of its own, and what it knows about them.
struct Walker<'a> {
    rig: &'a Rig,
    pipe: Option<DuplexStream>,
    random: Random,
    buckets: [Bucket; 2],
    /// How often each answer was given to each verb.
    seen: BTreeMap<String, u64>,
    place: String,
}

impl<'a> Walker<'a> {
    async fn new(rig: &'a Rig, seed: u64) -> Self {
        let buckets = ["plain", "kept"].map(|name| Bucket::new(format!("{name}-{seed}")));
        let random = Random::new(seed);
        let mut walker =
            Self { rig, pipe: None, random, buckets, seen: BTreeMap::new(), place: String::new() };
        for at in 0..2 {
            let target = format!("/{}", walker.buckets[at].name);
            walker.expect("make", Ask::new("PUT", &target).body(b""), "200").await;
        }
        walker
    }

    /// Asks over the pipe, signed.
    async fn ask(&mut self, ask: Ask) -> Answer {
        let signed = Signer::root().sign(ask, self.rig.address);
        let pipe = self.pipe.get_or_insert_with(|| {
            let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
            let gateway = self.rig.gateway.clone();
            tokio::spawn(async move { gateway.serve_stream(theirs).await });
            ours
        });
        // What is refused early may not be read to its end.
        let _may_be_refused_early = pipe.write_all(&signed.wire()).await.is_ok();
        let answer = read(pipe, signed.method == "HEAD").await;
        if answer.status == 0 || answer.get("connection") == Some("close") {
            self.pipe = None;
        }
        answer
    }

    /// Asks, and compares status and code.
    async fn expect(&mut self, verb: &str, ask: Ask, expected: &str) -> Answer {
        let shown = format!("{} {} {:?}", ask.method, ask.target, ask.headers);
        let head = ask.method == "HEAD";
        let answer = self.ask(ask).await;
        // A HEAD tells no code.
        let expected = if head { expected.split(' ').next().unwrap_or_default() } else { expected };
        assert_eq!(answer.told(), expected, "{}: {verb}: {shown} {}", self.place, answer.text());
        *self.seen.entry(format!("{verb} {expected}")).or_default() += 1;
        answer
    }

    async fn step(&mut self) {
        let bucket = self.random.below(2);
        match self.random.below(100) {
            0..=21 => self.put(bucket).await,
            22..=41 => self.get(bucket).await,
            42..=47 => self.head(bucket).await,
            48..=55 => self.delete(bucket).await,
            56..=58 => self.delete_many(bucket).await,
            59..=66 => self.copy(bucket).await,
            67..=71 => self.tags(bucket).await,
            72..=81 => self.list(bucket).await,
            82..=84 => self.list_versions(bucket).await,
            85..=97 => self.upload(bucket).await,
            98 => self.keep(bucket).await,
            _ => self.large_upload(bucket).await,
        }
    }

    /// Switches versioning of the one bucket that may have it.
    async fn keep(&mut self, bucket: usize) {
        if bucket == 0 {
            return;
        }
        let (keeps, text) = *self.random.pick(&[
            (Keeps::Versions, "Enabled"),
            (Keeps::Versions, "Enabled"),
            (Keeps::Suspended, "Suspended"),
        ]);
        let xml = format!("<VersioningConfiguration><Status>{text}</Status></VersioningConfiguration>");
        let target = format!("/{}?versioning", self.buckets[bucket].name);
        self.expect("keep", Ask::new("PUT", &target).body(xml.as_bytes()), "200").await;
        self.buckets[bucket].keeps = keeps;
    }

    fn path(&self, bucket: usize, key: &str) -> String {
        format!("/{}/{}", self.buckets[bucket].name, random::encode(key, false))
    }
}

/// Walks so many steps; how often each verb got each answer.
async fn walk(rig: &Rig, seed: u64, steps: usize) -> BTreeMap<String, u64> {
    let mut walker = Walker::new(rig, seed).await;
    for step in 0..steps {
        walker.place = format!("seed {seed}, step {step}");
        walker.step().await;
        if step % STEPS_BETWEEN_WORKERS == STEPS_BETWEEN_WORKERS - 1 {
            rig.client.repack(&|_, _| {}).await.expect("memory does not fail");
            rig.client.collect_condemned_before(u64::MAX, &|_, _| {}).await.expect("memory does not fail");
        }
    }
    walker.seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_sequences_of_all_verbs_answer_as_the_model_does() {
    let rig = Rig::new().await;
    let seen = walk(&rig, 1, 4_000).await;
    // A walk that only met refusals would prove little.
    for wanted in
        ["put 200", "get 200", "get 206", "get 304", "get 412 PreconditionFailed", "copy 200", "complete 200"]
    {
        assert!(seen.get(wanted).is_some_and(|count| *count >= 5), "{wanted}: {seen:#?}");
    }
    rig.stop().await;
}

/// The long run: `cargo xtask soak model`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a million steps take minutes: cargo xtask soak model"]
async fn a_million_steps_answer_as_the_model_does() {
    const STEPS: usize = 250_000;
    let rig = Rig::new().await;
    let begun = Instant::now();
    let of = |seed| walk(&rig, seed, STEPS);
    let (a, b, c, d) = tokio::join!(of(11), of(12), of(13), of(14));
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    for (answer, count) in [a, b, c, d].into_iter().flatten() {
        *seen.entry(answer).or_default() += count;
    }
    let requests: u64 = seen.values().sum();
    assert!(requests >= 1_000_000, "only {requests} requests");
    println!(
        "{requests} requests in {:.0} s, {:.0} a second",
        begun.elapsed().as_secs_f64(),
        requests as f64 / begun.elapsed().as_secs_f64()
    );
    seen.iter().for_each(|(answer, count)| println!("{count:>9} {answer}"));
    rig.stop().await;
}
