//! Connections: kept open between requests, made when there is none, TCP or TLS.
//!
//! `*.localhost` is this machine (RFC 6761), so that virtual-host style can be tried without DNS.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::body::Metered;
use crate::endpoint::Address;
use crate::error::S3Error;

/// From the first packet to a connection that takes requests.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(15);
/// Servers close idle connections; one that was idle for longer is not tried again.
const IDLE_TIME_MAX: Duration = Duration::from_secs(20);
/// Connections that are kept idle, in all.
const IDLE_MAX: usize = 256;

/// A connection that takes requests.
pub(crate) type Sender = SendRequest<Metered>;

struct Idle {
    sender: Sender,
    since: Instant,
}

/// See the module.
pub(crate) struct Pool {
    tls: Option<Arc<ClientConfig>>,
    idle: Mutex<HashMap<String, Vec<Idle>>>,
}

impl Pool {
    pub(crate) fn new(tls: Option<Arc<ClientConfig>>) -> Self {
        Self { tls, idle: Mutex::default() }
    }

    /// A connection to the address, and whether it was used before.
    pub(crate) async fn take(&self, address: &Address, url: &str) -> Result<(Sender, bool), S3Error> {
        while let Some(mut sender) = self.pop(&address.authority) {
            if sender.ready().await.is_ok() {
                return Ok((sender, true));
            }
        }
        let made = timeout(CONNECT_TIME_MAX, self.connect(address, url)).await;
        let late = |_| S3Error::Unreachable {
            endpoint: url.to_owned(),
            why: format!("no connection within {} s", CONNECT_TIME_MAX.as_secs()),
        };
        Ok((made.map_err(late)??, false))
    }

    fn pop(&self, authority: &str) -> Option<Sender> {
        let mut idle = self.idle.lock().expect("a map does not panic");
        let of = idle.get_mut(authority)?;
        while let Some(Idle { sender, since }) = of.pop() {
            if since.elapsed() < IDLE_TIME_MAX && !sender.is_closed() {
                return Some(sender);
            }
        }
        None
    }

    /// Keeps a connection whose answer was read to its end.
    pub(crate) fn give_back(&self, authority: &str, sender: Sender) {
        if sender.is_closed() {
            return;
        }
        let mut idle = self.idle.lock().expect("a map does not panic");
        if idle.values().map(Vec::len).sum::<usize>() < IDLE_MAX {
            let kept = Idle { sender, since: Instant::now() };
            idle.entry(authority.to_owned()).or_default().push(kept);
        }
    }

    async fn connect(&self, address: &Address, url: &str) -> Result<Sender, S3Error> {
        let endpoint = url.to_owned();
        let stream = match dial(&address.host, address.port).await {
            Ok(stream) => stream,
            Err(error) => return Err(S3Error::Unreachable { endpoint, why: error.to_string() }),
        };
        let Some(tls) = &self.tls else {
            let made = handshake(TokioIo::new(stream)).await;
            let (sender, work) =
                made.map_err(|error| S3Error::Broken { endpoint, why: error.to_string() })?;
            // Its errors reach the request that suffers from them.
            tokio::spawn(async move { drop(work.await) });
            return Ok(sender);
        };
        let host = address.host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host)
            .map_err(|error| S3Error::Tls { endpoint: endpoint.clone(), why: error.to_string() })?;
        let stream = TlsConnector::from(tls.clone()).connect(name, stream).await;
        let stream =
            stream.map_err(|error| S3Error::Tls { endpoint: endpoint.clone(), why: error.to_string() })?;
        let made = handshake(TokioIo::new(stream)).await;
        let (sender, work) = made.map_err(|error| S3Error::Broken { endpoint, why: error.to_string() })?;
        tokio::spawn(async move { drop(work.await) });
        Ok(sender)
    }
}

async fn dial(host: &str, port: u16) -> std::io::Result<TcpStream> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let addresses: Vec<SocketAddr> = if bare.ends_with(".localhost") {
        vec![SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)]
    } else {
        lookup_host((bare, port)).await?.collect()
    };
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}
