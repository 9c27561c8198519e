//! `bare-server`: answers S3's object verbs out of memory and keeps nothing: what hyper and the client can do at most.
//!
//! Objects are what [`Payloads`] says their key contains, so the client's check of every byte holds here too. It checks
//! no signature. Listings are not answered. Prints `listening HOST:PORT`; ends when its standard input does, so
//! that it never outlives the process that started it.

use std::convert::Infallible;
use std::io::Read;
use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, ETAG};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};

use crate::payload::{ObjectSize, Payloads};

const CONNECTIONS_MAX: usize = 1024;

/// What the server serves.
#[derive(Args)]
pub struct Arguments {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: String,
    /// The seed of the payloads.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// The subcommand.
pub fn run(arguments: &Arguments) -> Result<()> {
    let payloads = Arc::new(Payloads::new(arguments.seed));
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    let (closed, parent_gone) = oneshot::channel::<()>();
    // A blocking read of a pipe cannot be cancelled, so it has a thread of its own, which ends with the process.
    std::thread::spawn(move || {
        let mut rest = [0; 64];
        while matches!(std::io::stdin().read(&mut rest), Ok(1..)) {}
        drop(closed);
    });
    runtime.block_on(async {
        let listener = TcpListener::bind(&arguments.listen)
            .await
            .with_context(|| format!("listening on {}", arguments.listen))?;
        println!("listening {}", listener.local_addr()?);
        tokio::select! {
            outcome = accept(listener, payloads) => outcome,
            _ = parent_gone => Ok(()),
        }
    })
}

async fn accept(listener: TcpListener, payloads: Arc<Payloads>) -> Result<()> {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = places.clone().acquire_owned().await.context("the semaphore is never closed")?;
        let (stream, _) = listener.accept().await.context("accepting")?;
        stream.set_nodelay(true)?;
        let payloads = payloads.clone();
        tokio::spawn(async move {
            serve(stream, payloads).await;
            drop(place);
        });
    }
}

async fn serve(stream: TcpStream, payloads: Arc<Payloads>) {
    let service = service_fn(|request| {
        let payloads = payloads.clone();
        async move { Ok::<_, Infallible>(answer(request, &payloads).await) }
    });
    // A client that goes away is its own business.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(request: Request<Incoming>, payloads: &Payloads) -> Response<Full<Bytes>> {
    let object = object_of(request.uri().path());
    let method = request.method().clone();
    let mut response = Response::new(Full::default());
    match (method, object) {
        (Method::PUT, _) => {
            let mut body = request.into_body();
            while let Some(Ok(_)) = body.frame().await {}
        }
        (Method::GET, Some((number, size))) => {
            *response.body_mut() = Full::new(payloads.object(number, size));
        }
        (Method::HEAD, Some((_, size))) => {
            response.headers_mut().insert(CONTENT_LENGTH, size.bytes().into());
        }
        (Method::HEAD, None) => {}
        (Method::DELETE, _) => *response.status_mut() = StatusCode::NO_CONTENT,
        _ => *response.status_mut() = StatusCode::NOT_IMPLEMENTED,
    }
    response.headers_mut().insert(ETAG, hyper::header::HeaderValue::from_static("\"bare\""));
    response
}

/// Number and size from a path's last two segments.
fn object_of(path: &str) -> Option<(u64, ObjectSize)> {
    let (front, number) = path.rsplit_once('/')?;
    let (_, size) = front.rsplit_once('/')?;
    Some((number.parse().ok()?, size.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_name_their_content() {
        let (number, size) = object_of("/bucket/get/4KiB/0000000012").expect("a key of the bench");
        assert_eq!((number, size.bytes()), (12, 4096));
        for path in ["/", "", "/bucket", "/bucket/get/4KiB/x", "/bucket/get/65MiB/1"] {
            assert!(object_of(path).is_none(), "{path:?}");
        }
    }
}
