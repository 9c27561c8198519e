//! A small HTTP client: writes exactly the bytes it is told to, reads one answer.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A request.
#[derive(Clone, Debug)]
pub struct Ask {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Ask {
    /// Of that method and target (path and query, encoded).
    pub fn new(method: &str, target: &str) -> Self {
        Self { method: method.into(), target: target.into(), headers: vec![], body: vec![] }
    }

    /// With that header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// With that body, and its length.
    pub fn body(self, body: &[u8]) -> Self {
        let length = body.len().to_string();
        Self { body: body.to_vec(), ..self }.header("content-length", &length)
    }

    /// The header's value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// With a Host header, unless it has one.
    pub fn host(self, address: SocketAddr) -> Self {
        if self.get("host").is_some() { self } else { self.header("host", &address.to_string()) }
    }

    /// As it goes over the wire.
    pub fn wire(&self) -> Vec<u8> {
        let mut wire = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            wire.push_str(&format!("{name}: {value}\r\n"));
        }
        wire.push_str("\r\n");
        let mut wire = wire.into_bytes();
        wire.extend_from_slice(&self.body);
        wire
    }
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// The header's value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// What is between the first pair of those tags.
    pub fn xml(&self, tag: &str) -> Option<String> {
        let text = self.text();
        let start = text.find(&format!("<{tag}>"))? + tag.len() + 2;
        let end = start + text[start..].find(&format!("</{tag}>"))?;
        Some(text[start..end].to_owned())
    }

    /// Status and, if there is one, S3's code.
    pub fn told(&self) -> String {
        let code = self.xml("Code").filter(|_| self.status >= 300);
        code.map_or_else(|| self.status.to_string(), |code| format!("{} {code}", self.status))
    }
}

/// One request on a connection of its own.
pub async fn exchange(address: SocketAddr, ask: &Ask) -> Answer {
    raw(address, &ask.wire(), ask.method == "HEAD").await
}

/// Bytes on a connection of their own, and the answer to them. Status 0: the connection was closed without one.
pub async fn raw(address: SocketAddr, wire: &[u8], head: bool) -> Answer {
    let mut socket = TcpStream::connect(address).await.expect("the gateway listens");
    // An early refusal may close the socket while the body is still being written.
    let _may_be_refused_early = socket.write_all(wire).await.is_ok();
    read(&mut socket, head).await
}

/// Reads one answer off a connection.
pub async fn read<S: AsyncRead + Unpin>(socket: &mut S, head: bool) -> Answer {
    let mut bytes = Vec::new();
    let reading = async {
        loop {
            if let Some(answer) = parse(&bytes, head) {
                return answer;
            }
            match socket.read_buf(&mut bytes).await {
                Ok(0) | Err(_) => return Answer { status: 0, headers: vec![], body: bytes.clone() },
                Ok(_) => {}
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), reading).await.expect("an answer within a minute")
}

fn parse(bytes: &[u8], head: bool) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let text = std::str::from_utf8(&bytes[..end]).expect("heads are text");
    let mut lines = text.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().expect("a status");
    let pair = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut answer = Answer { status, headers: lines.filter_map(pair).collect(), body: vec![] };
    if status == 100 {
        return parse(&bytes[end + 4..], head);
    }
    if head || matches!(status, 204 | 304) {
        return Some(answer);
    }
    let length: usize =
        answer.get("content-length").expect("answers say their length").parse().expect("a number");
    let body = bytes.get(end + 4..end + 4 + length)?;
    answer.body = body.to_vec();
    Some(answer)
}
