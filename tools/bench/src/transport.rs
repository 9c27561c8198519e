//! `transport`: the engine `tcp` beside bare tokio and rustls, in one process, round by round.
//!
//! The bare peer does what no engine can avoid: the same cipher, one connection, messages one behind another, read into one
//! buffer that is used again. It has no frames, no queues, no window and no signs of life.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use bytes::Bytes;
use clap::Args;
use pangea_core::id::ClusterId;
use pangea_net::{NodeIdentity, Peer, Tcp, TcpConfig};
use pangea_transport::{Message, Transport};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::process::Watched;
use crate::report::{Report, Row};
use crate::stats::{median, percentile};

const ENGINE: &str = "tcp";
const BARE: &str = "bare";
/// Bytes of a large message: a piece of a shard.
const LARGE_BYTES: usize = 512 << 10;
/// Bytes of a small question and of its answer.
const SMALL_BYTES: usize = 4 << 10;
/// Bytes of a head, as requests to a drive have it.
const HEAD_BYTES: usize = 64;
/// The clock is looked at once in so many large messages.
const LARGE_STEP: usize = 16;
const ROUNDS_MAX: usize = 101;

/// The engine `tcp` beside bare tokio and rustls: large messages one way, small questions and answers.
#[derive(Args)]
pub struct Arguments {
    /// Rounds of each case and subject; they alternate.
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Seconds of a round.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Rows of JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// What a round found.
struct Round {
    messages: u64,
    took: Duration,
    cpu: Duration,
    /// Of round trips, in nanoseconds, rising.
    taken_ns: Vec<u64>,
}

/// Runs all cases.
pub fn run(arguments: &Arguments) -> Result<()> {
    ensure!((1..=ROUNDS_MAX).contains(&arguments.rounds), "rounds: 1 to {ROUNDS_MAX}");
    ensure!((0.05..=60.0).contains(&arguments.seconds), "seconds: 0.05 to 60");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let length = Duration::from_secs_f64(arguments.seconds);
    runtime.block_on(async {
        let mut report = Report::new(arguments.json);
        let engine = Engine::start().await?;
        let mut bare = Bare::start().await?;
        for (case, large) in [("ONEWAY-512KiB", true), ("CALL-4KiB", false)] {
            let (mut of_engine, mut of_bare) = (Vec::new(), Vec::new());
            for _ in 0..arguments.rounds {
                let (first, second) = if large {
                    (engine.one_way(length).await?, bare.one_way(length).await?)
                } else {
                    (engine.calls(length).await?, bare.calls(length).await?)
                };
                of_engine.push(first);
                of_bare.push(second);
            }
            report.add(rows(case, large, &of_engine, &of_bare));
        }
        report.print();
        Ok(())
    })
}

/// Two engines, one link.
struct Engine {
    one: Arc<Tcp>,
    two: Arc<Tcp>,
}

impl Engine {
    async fn start() -> Result<Self> {
        let start = |seed: u8| {
            let identity = NodeIdentity::from_seed([seed; 32])?;
            let listen = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
            Tcp::start(TcpConfig::new(identity, ClusterId([1; 16]), [2; 32], listen))
        };
        let (one, two) = (start(1)?, start(2)?);
        let peer = |of: &Tcp| Peer { node: of.local(), addresses: vec![of.local_address().to_string()] };
        one.set_peers(vec![peer(&two)]);
        two.set_peers(vec![peer(&one)]);
        one.send(two.local(), message(0, false)).await?;
        two.recv().await?;
        Ok(Self { one, two })
    }

    async fn one_way(&self, length: Duration) -> Result<Round> {
        let (two, sent) = (self.two.clone(), message(LARGE_BYTES, false));
        let (enough, mut told) = tokio::sync::oneshot::channel();
        let reader = tokio::spawn(async move {
            let (mut received, mut expected) = (0_u64, None);
            while expected != Some(received) {
                tokio::select! {
                    biased;
                    message = two.recv() => {
                        ensure!(message?.1.body.len() == LARGE_BYTES, "a message of another size");
                        received += 1;
                    }
                    sent = &mut told, if expected.is_none() => expected = Some(sent?),
                }
            }
            Ok(())
        });
        let watch = Watch::start()?;
        let mut messages = 0;
        while watch.since.elapsed() < length {
            for _ in 0..LARGE_STEP {
                self.one.send(self.two.local(), sent.clone()).await?;
                messages += 1;
            }
        }
        enough.send(messages).map_err(|_| anyhow!("the reader is gone"))?;
        reader.await??;
        watch.stop(messages, Vec::new())
    }

    async fn calls(&self, length: Duration) -> Result<Round> {
        let (question, answer) = (message(SMALL_BYTES, false), message(SMALL_BYTES, true));
        let two = self.two.clone();
        let answerer = tokio::spawn(async move {
            while let Ok((peer, _)) = two.recv().await {
                two.send(peer, answer.clone()).await?;
            }
            Ok::<(), pangea_transport::TransportError>(())
        });
        let watch = Watch::start()?;
        let mut taken_ns = Vec::new();
        while watch.since.elapsed() < length {
            let asked = Instant::now();
            self.one.send(self.two.local(), question.clone()).await?;
            self.one.recv().await?;
            taken_ns.push(asked.elapsed().as_nanos() as u64);
        }
        let round = watch.stop(taken_ns.len() as u64, taken_ns);
        answerer.abort();
        // It was asked to stop.
        let _ = answerer.await;
        round
    }
}

fn message(bytes: usize, answer: bool) -> Message {
    Message { head: Bytes::from(vec![1; HEAD_BYTES]), body: Bytes::from(vec![2; bytes]), answer }
}

/// Both ends of one TLS connection.
struct Bare {
    one: Option<TlsStream<TcpStream>>,
    two: Option<TlsStream<TcpStream>>,
}

impl Bare {
    async fn start() -> Result<Self> {
        let provider = Arc::new(CryptoProvider {
            cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
            ..aws_lc_rs::default_provider()
        });
        let made = rcgen::generate_simple_self_signed(vec!["bare".to_owned()])?;
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())?;
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone))
            .with_no_client_auth();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let stream = TcpStream::connect(listener.local_addr()?).await?;
        let (accepted, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        accepted.set_nodelay(true)?;
        let name = ServerName::try_from("bare")?;
        let (one, two) = tokio::try_join!(
            TlsConnector::from(Arc::new(client)).connect(name, stream),
            TlsAcceptor::from(Arc::new(server)).accept(accepted),
        )?;
        Ok(Self { one: Some(TlsStream::Client(one)), two: Some(TlsStream::Server(two)) })
    }

    fn ends(&mut self) -> Result<(TlsStream<TcpStream>, TlsStream<TcpStream>)> {
        let gone = "an earlier round failed";
        Ok((self.one.take().context(gone)?, self.two.take().context(gone)?))
    }

    async fn one_way(&mut self, length: Duration) -> Result<Round> {
        let (mut one, mut two) = self.ends()?;
        let (enough, mut told) = tokio::sync::oneshot::channel();
        let reader = tokio::spawn(async move {
            let (mut received, mut expected) = (0_u64, None);
            let mut buffer = vec![0; LARGE_BYTES];
            while expected != Some(received) {
                tokio::select! {
                    biased;
                    read = two.read(&mut buffer) => {
                        // The rest of a message that has begun comes without a question.
                        let read = read?;
                        ensure!(read > 0, "hung up");
                        two.read_exact(&mut buffer[read..]).await?;
                        received += 1;
                    }
                    sent = &mut told, if expected.is_none() => expected = Some(sent?),
                }
            }
            Ok(two)
        });
        let body = vec![2; LARGE_BYTES];
        let watch = Watch::start()?;
        let mut messages = 0;
        while watch.since.elapsed() < length {
            for _ in 0..LARGE_STEP {
                one.write_all(&body).await?;
                messages += 1;
            }
        }
        one.flush().await?;
        enough.send(messages).map_err(|_| anyhow!("the reader is gone"))?;
        self.two = Some(reader.await??);
        self.one = Some(one);
        watch.stop(messages, Vec::new())
    }

    async fn calls(&mut self, length: Duration) -> Result<Round> {
        let (mut one, mut two) = self.ends()?;
        let answerer = tokio::spawn(async move {
            let mut buffer = vec![0; SMALL_BYTES];
            loop {
                two.read_exact(&mut buffer).await?;
                if buffer[0] == 0 {
                    return Ok::<_, std::io::Error>(two);
                }
                two.write_all(&buffer).await?;
                two.flush().await?;
            }
        });
        let mut buffer = vec![1; SMALL_BYTES];
        let watch = Watch::start()?;
        let mut taken_ns = Vec::new();
        while watch.since.elapsed() < length {
            let asked = Instant::now();
            one.write_all(&buffer).await?;
            one.flush().await?;
            one.read_exact(&mut buffer).await?;
            taken_ns.push(asked.elapsed().as_nanos() as u64);
        }
        let round = watch.stop(taken_ns.len() as u64, taken_ns);
        one.write_all(&vec![0; SMALL_BYTES]).await?;
        one.flush().await?;
        self.two = Some(answerer.await??);
        self.one = Some(one);
        round
    }
}

/// The clock and the CPU time of this process.
struct Watch {
    since: Instant,
    cpu: Duration,
}

impl Watch {
    fn start() -> Result<Self> {
        Ok(Self { since: Instant::now(), cpu: Watched::own().cpu()? })
    }

    fn stop(self, messages: u64, mut taken_ns: Vec<u64>) -> Result<Round> {
        taken_ns.sort_unstable();
        Ok(Round { messages, took: self.since.elapsed(), cpu: Watched::own().cpu()? - self.cpu, taken_ns })
    }
}

/// What is measured, its unit, and how it follows from a round.
type Figure<'a> = (&'a str, &'static str, &'a dyn Fn(&Round) -> f64);

fn rows(case: &str, large: bool, engine: &[Round], bare: &[Round]) -> Vec<Row> {
    let rate = |round: &Round| {
        let bytes = if large { LARGE_BYTES as f64 / 1e6 } else { 1.0 };
        round.messages as f64 * bytes / round.took.as_secs_f64()
    };
    let cpu = |round: &Round| {
        let (seconds, messages) = (round.cpu.as_secs_f64(), round.messages as f64);
        if large { seconds / (messages * LARGE_BYTES as f64 / 1e9) } else { seconds / messages * 1e6 }
    };
    let p50 = |round: &Round| percentile(&round.taken_ns, 0.5).map_or(0.0, |ns| ns as f64 / 1e6);
    let mut figures: Vec<Figure> = vec![
        ("rate", if large { "MB/s" } else { "ops/s" }, &rate),
        ("cpu", if large { "s/GB" } else { "us/op" }, &cpu),
    ];
    if !large {
        figures.push(("p50", "ms", &p50));
    }
    let mut rows = Vec::new();
    for (what, unit, figure) in figures {
        let of = |rounds: &[Round]| median(&rounds.iter().map(figure).collect::<Vec<_>>()).unwrap_or(0.0);
        let (value, against) = (of(engine), of(bare));
        let case = format!("{case}/{what}");
        let row = |subject: &str, peer: Option<&str>, value, ratio| Row {
            case: case.clone(),
            subject: subject.to_owned(),
            peer: peer.map(str::to_owned),
            value,
            unit,
            ratio,
            n: engine.len(),
        };
        rows.push(row(ENGINE, Some(BARE), value, Some(value / against)));
        rows.push(row(BARE, None, against, None));
    }
    rows
}

/// Believes any certificate: the bare peer measures bytes, not trust.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

#[cfg(test)]
mod tests {
    use super::{Bare, Engine};
    use std::time::Duration;

    #[tokio::test(flavor = "multi_thread")]
    async fn both_subjects_do_every_case_again_and_again() {
        let (engine, mut bare) = (Engine::start().await.expect("up"), Bare::start().await.expect("up"));
        let length = Duration::from_millis(20);
        for _ in 0..2 {
            for round in [
                engine.one_way(length).await,
                bare.one_way(length).await,
                engine.calls(length).await,
                bare.calls(length).await,
            ] {
                assert!(round.expect("it works").messages > 0);
            }
        }
    }
}
