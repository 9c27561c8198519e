//! What a refusal costs: bytes of the body that are read although the answer is certain, and time of the processor.
//!
//! Every case of `refusals` is sent once more, with a body that goes on for a gigabyte. The gateway reads it from a pipe
//! that counts. Bounds have a wide margin: they tell a refusal from a body that was read, not a quick machine from a slow one.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf};
use tokio::runtime::{Builder, Runtime};

use crate::http::{Answer, Ask, read};
use crate::refusals::every_case;
use crate::rig::Rig;
use crate::sign::Signer;

/// What a body announces that goes on and on.
const ENDLESS_BYTES: u64 = 1 << 30;
/// A refused body is read no further than this: the buffer of a connection, and what is taken out of it meanwhile.
const READ_BYTES_MAX: u64 = 2 << 20;
/// After its answer a connection listens for no more than this, so that the answer is not lost.
const LINGER_BYTES_MAX: u64 = 9 << 20;
/// The time of all of a server's threads for a refusal, in any build. (Reading a gigabyte takes ten times as much.)
const CPU_MAX: Duration = Duration::from_millis(100);
/// And on average.
const CPU_MEAN_MAX: Duration = Duration::from_millis(10);
/// There must be so many: a case is added, never lost.
const CASES_MIN: usize = 300;
/// And so many of them have a body that does not end, and the answer of a short one: what reads documents, and what reads no
/// body at all, refuses the length.
const ENDLESS_MIN: usize = 190;
/// Of so many refusals, one is followed until the gateway closes a connection on which more and more comes.
const FOLLOWED_EVERY: usize = 16;
/// What only a whole body shows: its end is where the refusal becomes certain.
const AT_THE_END: [&str; 4] =
    ["BadDigest", "XAmzContentSHA256Mismatch", "IncompleteBody", "MalformedTrailerError"];
const PIPE_BYTES: usize = 64 << 10;
/// The server's threads bear this name, and no others do.
const THREADS: &str = "refusing";

/// The gateway's end of a pipe: counts what is read before the answer begins, and after.
struct Counting {
    pipe: DuplexStream,
    read: Arc<[AtomicU64; 2]>,
    answered: bool,
}

impl AsyncRead for Counting {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.pipe).poll_read(cx, buf);
        let read = (buf.filled().len() - before) as u64;
        this.read[usize::from(this.answered)].fetch_add(read, Ordering::Relaxed);
        polled
    }
}

impl AsyncWrite for Counting {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        // `100 Continue` is no answer.
        this.answered |= !buf.starts_with(b"HTTP/1.1 100");
        Pin::new(&mut this.pipe).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().pipe).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().pipe).poll_shutdown(cx)
    }
}

/// What a case cost.
struct Cost {
    answer: Answer,
    /// Bytes of head and body that were read before the answer, and after it.
    read: [u64; 2],
    cpu: Duration,
}

/// The same request with a body that goes on; `None`: its refusal is about the end of the body, or about its length.
fn endless(ask: &Ask, expected: &str) -> Option<Ask> {
    let code = expected.split(' ').nth(1).unwrap_or_default();
    if ask.get("x-amz-decoded-content-length").is_some() {
        return Some(ask.clone());
    }
    if AT_THE_END.contains(&code) || code == "MissingContentLength" {
        return None;
    }
    let mut ask = ask.clone();
    if code == "EntityTooLarge" {
        return Some(ask);
    }
    ask.headers.retain(|(name, _)| name != "content-length");
    Some(ask.header("content-length", &ENDLESS_BYTES.to_string()))
}

/// Sends a request, with filler as long as the gateway takes it, and reads the answer. Whoever follows goes on sending after
/// that, until the connection is closed.
async fn cost(rig: &Rig, ask: &Ask, fill: bool, follow: bool) -> Cost {
    let (near, far) = tokio::io::duplex(PIPE_BYTES);
    let counts = Arc::new([const { AtomicU64::new(0) }; 2]);
    let stream = Counting { pipe: far, read: counts.clone(), answered: false };
    let before = server_cpu();
    let gateway = rig.gateway.clone();
    let serving = tokio::spawn(async move { gateway.serve_stream(stream).await });
    let (mut reader, mut writer) = tokio::io::split(near);
    let filling = async {
        let mut open = writer.write_all(&ask.wire()).await.is_ok();
        let filler = vec![b'x'; PIPE_BYTES];
        while open && fill {
            open = writer.write_all(&filler).await.is_ok();
        }
        // Whoever has said all waits for the answer; the pipe is kept open for it.
        std::future::pending::<()>().await;
    };
    let telling = async {
        let answer = read(&mut reader, ask.method == "HEAD").await;
        if follow {
            serving.await.expect("no panic");
        } else {
            serving.abort();
            let _ended_or_aborted = serving.await.is_ok();
        }
        answer
    };
    let answer = tokio::select! { answer = telling => answer, () = filling => unreachable!("it never ends") };
    let read = [counts[0].load(Ordering::Relaxed), counts[1].load(Ordering::Relaxed)];
    Cost { answer, read, cpu: server_cpu().saturating_sub(before) }
}

/// The time that the processor gave to the server's threads.
fn server_cpu() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux").flatten();
    let named = tasks.filter(|task| {
        std::fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.trim_end() == THREADS)
    });
    let spent_ns = |text: String| text.split(' ').next().and_then(|ns| ns.parse::<u64>().ok());
    // Threads that end meanwhile have nothing to tell; these live as long as the test.
    let spent =
        named.filter_map(|task| spent_ns(std::fs::read_to_string(task.path().join("schedstat")).ok()?));
    Duration::from_nanos(spent.sum())
}

/// The server's own threads: the test's sends and reads.
fn runtime() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).thread_name(THREADS).thread_keep_alive(Duration::from_secs(3600)).enable_all();
    builder.build().expect("threads")
}

#[test]
fn a_refusal_reads_no_more_than_it_must_and_costs_next_to_nothing() {
    runtime().block_on(async {
        let rig = Rig::new().await;
        rig.put("there", b"x").await;
        let cases = every_case(rig.address, Some(ENDLESS_BYTES));
        assert!(cases.len() >= CASES_MIN, "only {} cases", cases.len());
        let (mut wrong, mut same, mut cpu) = (vec![], 0, Duration::ZERO);
        for (number, (ask, signed_here, expected)) in cases.iter().enumerate() {
            let endless = endless(ask, expected);
            let fill = endless.is_some();
            let mut ask = endless.unwrap_or_else(|| ask.clone());
            if *signed_here {
                if fill && ask.get("x-amz-content-sha256").is_none() {
                    ask = ask.header("x-amz-content-sha256", "UNSIGNED-PAYLOAD");
                }
                ask = Signer::root().sign(ask, rig.address);
            }
            let ask = ask.host(rig.address);
            let follow = fill && number % FOLLOWED_EVERY == 0;
            let cost = cost(&rig, &ask, fill, follow).await;
            let shown: String =
                format!("{expected}: {} {}", ask.method, ask.target).chars().take(200).collect();
            let told = cost.answer.told();
            same += usize::from(fill && told == *expected);
            // To listen to the rest has its own bound.
            let spent = if follow { Duration::ZERO } else { cost.cpu };
            cpu += spent;
            let read_max = READ_BYTES_MAX + ask.wire().len() as u64;
            if cost.answer.status < 300 || cost.read[0] > read_max || cost.read[1] > LINGER_BYTES_MAX {
                wrong.push(format!("{told}, read {:?}: {shown}", cost.read));
            }
            if spent > CPU_MAX {
                wrong.push(format!("{told}, {spent:?}: {shown}"));
            }
        }
        let mean = cpu / cases.len() as u32;
        println!("{} refusals, {same} of them with endless bodies: {mean:?} each", cases.len());
        assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
        assert!(same >= ENDLESS_MIN, "only {same} were refused for the same reason with an endless body");
        assert!(mean < CPU_MEAN_MAX, "{mean:?} each");
        assert!(cpu > Duration::ZERO, "no thread of the server was found");
        rig.stop().await;
    });
}
