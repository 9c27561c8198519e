//! Joining: a node that is no member yet asks one question and gets one answer, in bytes that are not understood here.
//!
//! Same port, own protocol. Both sides know each other's node id and a value of this one connection that nobody else knows;
//! a question that contains a proof over it cannot be replayed. The question is a frame `question` without a head, the
//! answer a frame `answer` without a head; a bye says why there is none.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use pangea_core::id::NodeId;
use pangea_transport::BoxFuture;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use crate::error::{Awaited, NetError, Refusal};
use crate::frame::{FrameError, Header, Kind};
use crate::identity::NodeIdentity;
use crate::tcp::meet;
use crate::tls;

/// Bytes of a question.
pub const QUESTION_BYTES_MAX: usize = 64 << 10;
/// Bytes of an answer.
pub const ANSWER_BYTES_MAX: usize = 1 << 20;
/// The label of the value that both sides know of the connection.
pub const LABEL: &[u8] = b"EXPORTER-pangea-join";

/// Answers newcomers.
pub trait JoinDoor: Send + Sync {
    /// Answers one question. `channel` is what only the two ends of this connection know. The handshake's deadline counts
    /// for the answer too ([`crate::tcp::HANDSHAKE_MAX`]).
    fn answer(&self, peer: NodeId, channel: [u8; 32], question: Bytes) -> BoxFuture<'_, Bytes>;
}

/// Asks the node `expected` at an address (`host:port`). The question is made of what only the two ends of this connection
/// know.
pub async fn ask(
    identity: &NodeIdentity,
    address: &str,
    expected: NodeId,
    question: impl FnOnce([u8; 32]) -> Bytes,
    deadline: Duration,
) -> Result<Bytes, NetError> {
    let work = async {
        let mut stream = meet::dial(identity, expected, address, tls::JOIN_PROTOCOL).await?;
        let question = question(tls::channel(&stream, LABEL)?);
        if question.len() > QUESTION_BYTES_MAX {
            return Err(NetError::TooLarge { bytes: question.len(), bytes_max: QUESTION_BYTES_MAX });
        }
        // A refusal may come before the question is through: then the refusal is what counts.
        let sent = write(&mut stream, Kind::Question, &question).await;
        match read(&mut stream, Kind::Answer, ANSWER_BYTES_MAX).await {
            Err(NetError::HungUp) => sent.and(Err(NetError::HungUp)),
            result => result,
        }
    };
    let answer = tokio::time::timeout(deadline, work).await;
    answer.unwrap_or(Err(NetError::TimedOut { awaited: Awaited::Answer }))
}

/// Answers one newcomer.
pub(crate) async fn serve(
    stream: &mut TlsStream<TcpStream>,
    peer: NodeId,
    door: Option<Arc<dyn JoinDoor>>,
) -> Result<(), NetError> {
    let Some(door) = door else {
        meet::refuse(stream, Refusal::NoDoor).await;
        return Err(NetError::Refusing(Refusal::NoDoor));
    };
    let channel = tls::channel(stream, LABEL)?;
    let question = match read(stream, Kind::Question, QUESTION_BYTES_MAX).await {
        Ok(question) => question,
        Err(error) => {
            if matches!(error, NetError::TooLarge { .. } | NetError::Frame(_)) {
                meet::refuse(stream, Refusal::Protocol).await;
            }
            return Err(error);
        }
    };
    let answer = door.answer(peer, channel, question).await;
    if answer.len() > ANSWER_BYTES_MAX {
        return Err(NetError::TooLarge { bytes: answer.len(), bytes_max: ANSWER_BYTES_MAX });
    }
    write(stream, Kind::Answer, &answer).await?;
    stream.shutdown().await.map_err(NetError::of_stream)
}

async fn write(stream: &mut TlsStream<TcpStream>, kind: Kind, body: &[u8]) -> Result<(), NetError> {
    let header = Header { kind, head_bytes: 0, body_bytes: body.len() }.encode();
    stream.write_all(&header).await.map_err(NetError::of_stream)?;
    stream.write_all(body).await.map_err(NetError::of_stream)?;
    stream.flush().await.map_err(NetError::of_stream)
}

async fn read(stream: &mut TlsStream<TcpStream>, kind: Kind, bytes_max: usize) -> Result<Bytes, NetError> {
    let header = meet::read_header(stream).await?;
    if header.kind != kind || header.head_bytes != 0 {
        return Err(NetError::Frame(FrameError::Unexpected(header.kind)));
    }
    let bytes = header.body_bytes;
    if bytes > bytes_max {
        return Err(NetError::TooLarge { bytes, bytes_max });
    }
    // Grows with what comes, not with what was announced.
    let mut body = BytesMut::new();
    while body.len() < bytes {
        let missing = bytes - body.len();
        if stream.read_buf(&mut (&mut body).limit(missing)).await.map_err(NetError::of_stream)? == 0 {
            return Err(NetError::HungUp);
        }
    }
    Ok(body.freeze())
}

#[cfg(test)]
#[path = "join_tests.rs"]
mod tests;
