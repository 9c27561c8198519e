//! A node under control from afar: [`Control`] over the admin port's HTTP. What the command line talks through.
//!
//! Knows the token from its caller, or finds the one that a server on this machine made: the server says where it lies, and
//! whoever may read that file is an operator.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;

use crate::admin::TOKEN_FILE_NAME;
use crate::config::Secret;
use crate::control::{
    AccessKeyInfo, Control, ControlError, CreatedAccessKey, KeyBackup, LayoutPlan, LayoutWish, MadeToken,
    MetaBackup, MetaBackupBytes, MetaBackupPart, NewAccessKey, Pass, PassReport, RecodeWish, Recoding, Reply,
    Rotated, Rotation, Status, TokenWish, WorkerStatus, WorkerWish,
};
use crate::keyfile::read_bounded;

/// Where a server is asked unless told otherwise.
pub const ADMIN_DEFAULT: &str = "http://127.0.0.1:9001";
/// How long an answer may take: a rotation rewraps every key.
const TIMEOUT: Duration = Duration::from_secs(300);
const ANSWER_BYTES_MAX: usize = 64 << 20;
const TOKEN_HEX_DIGITS: usize = 64;

/// See the module.
pub struct Remote {
    authority: String,
    token: Option<Secret>,
}

#[derive(serde::Deserialize)]
struct Hello {
    token_file: Option<PathBuf>,
}

impl Remote {
    /// A server by its address, `http://HOST:PORT`.
    pub fn new(url: &str, token: Option<Secret>) -> Result<Self, ControlError> {
        let invalid =
            || ControlError::Unreachable { why: format!("`{url}` is not an address like {ADMIN_DEFAULT}") };
        let uri: Uri = url.parse().map_err(|_| invalid())?;
        let authority = uri.authority().ok_or_else(invalid)?;
        if uri.scheme_str() != Some("http") || authority.port_u16().is_none() {
            return Err(invalid());
        }
        Ok(Self { authority: authority.to_string(), token })
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ControlError> {
        self.ask(Method::GET, path, Bytes::new(), self.token.as_ref()).await
    }

    async fn post<B: Serialize, T: DeserializeOwned>(&self, path: &str, body: &B) -> Result<T, ControlError> {
        let body =
            serde_json::to_vec(body).map_err(|error| ControlError::Failed { why: error.to_string() })?;
        match &self.token {
            Some(token) => self.ask(Method::POST, path, body.into(), Some(token)).await,
            None => {
                let token = self.find_token().await?;
                self.ask(Method::POST, path, body.into(), Some(&token)).await
            }
        }
    }

    /// The token that the server keeps on this machine.
    async fn find_token(&self) -> Result<Secret, ControlError> {
        let hello: Hello = self.ask(Method::GET, "/control/v1/hello", Bytes::new(), None).await?;
        let unauthorized = |why: String| ControlError::Unauthorized { why };
        let file =
            hello.token_file.ok_or_else(|| unauthorized("the server wants the operator token".into()))?;
        read_token(&file).ok_or_else(|| {
            unauthorized(format!("the operator token in {} cannot be read by this user", file.display()))
        })
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        token: Option<&Secret>,
    ) -> Result<T, ControlError> {
        let unreachable = |why: String| ControlError::Unreachable { why };
        let mut request = Request::builder().method(method).uri(path).header(HOST, &self.authority);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {}", token.expose()));
        }
        let request = request.body(Full::new(body)).map_err(|error| unreachable(error.to_string()))?;
        let answered = tokio::time::timeout(TIMEOUT, self.send(request)).await;
        let (status, body) = match answered {
            Ok(Ok(answer)) => answer,
            Ok(Err(why)) => {
                return Err(unreachable(format!("no server answers at http://{}: {why}", self.authority)));
            }
            Err(_) => return Err(unreachable(format!("http://{} did not answer in time", self.authority))),
        };
        if status == StatusCode::OK {
            let foreign =
                |error| unreachable(format!("http://{} is not a pangea server: {error}", self.authority));
            return serde_json::from_slice(&body).map_err(foreign);
        }
        let error = serde_json::from_slice(&body);
        Err(error.unwrap_or_else(|_| unreachable(format!("http://{} answers {status}", self.authority))))
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), String> {
        let words = |error: &dyn std::error::Error| error.to_string();
        let stream = TcpStream::connect(&self.authority).await.map_err(|e| words(&e))?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.map_err(|e| words(&e))?;
        // It ends with the answer; what goes wrong on it, the sender is told.
        let driver = tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(|e| words(&e))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|e| e.to_string())?.to_bytes();
        driver.abort();
        Ok((status, body))
    }
}

/// Waits for an answer, for callers without a runtime.
pub fn wait<T, E: From<ControlError>>(answer: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| ControlError::Failed { why: error.to_string() })?.block_on(answer)
}

/// A made token, read with suspicion: whoever holds the port could name any file, and gets nothing else to see.
fn read_token(file: &Path) -> Option<Secret> {
    if file.file_name()? != TOKEN_FILE_NAME || !file.is_absolute() {
        return None;
    }
    let bytes = read_bounded(file, TOKEN_HEX_DIGITS).ok()?;
    let token = String::from_utf8(bytes).ok()?;
    let plain = token.len() == TOKEN_HEX_DIGITS && token.bytes().all(|b| b.is_ascii_hexdigit());
    plain.then(|| Secret::new(token))
}

impl Control for Remote {
    fn status(&self) -> Reply<'_, Status> {
        Box::pin(self.get("/control/v1/status"))
    }

    fn scrub(&self) -> Reply<'_, Pass> {
        Box::pin(self.post("/control/v1/scrub", &()))
    }

    fn pass(&self, pass: u64) -> Reply<'_, PassReport> {
        Box::pin(async move { self.get(&format!("/control/v1/scrub/{pass}")).await })
    }

    fn rotate_keys(&self, rotation: Rotation) -> Reply<'_, Rotated> {
        Box::pin(async move { self.post("/control/v1/keys/rotate", &rotation).await })
    }

    fn create_access_key(&self, wanted: NewAccessKey) -> Reply<'_, CreatedAccessKey> {
        Box::pin(async move { self.post("/control/v1/access-keys/create", &wanted).await })
    }

    // Which keys there are is for operators only, so this is asked for with the token.
    fn access_keys(&self) -> Reply<'_, Vec<AccessKeyInfo>> {
        Box::pin(self.post("/control/v1/access-keys/list", &()))
    }

    fn revoke_access_key(&self, id: String) -> Reply<'_, ()> {
        Box::pin(async move { self.post("/control/v1/access-keys/revoke", &id).await })
    }

    fn change_layout(&self, wish: LayoutWish) -> Reply<'_, LayoutPlan> {
        Box::pin(async move { self.post("/control/v1/layout", &wish).await })
    }

    fn recode(&self, wish: RecodeWish) -> Reply<'_, Recoding> {
        Box::pin(async move { self.post("/control/v1/recode", &wish).await })
    }

    fn set_worker(&self, wish: WorkerWish) -> Reply<'_, WorkerStatus> {
        Box::pin(async move { self.post("/control/v1/worker", &wish).await })
    }

    fn make_join_token(&self, wish: TokenWish) -> Reply<'_, MadeToken> {
        Box::pin(async move { self.post("/control/v1/cluster/token", &wish).await })
    }

    fn cut_off(&self, nodes: Vec<String>) -> Reply<'_, ()> {
        Box::pin(async move { self.post("/control/v1/cluster/cut", &nodes).await })
    }

    fn remove_node(&self, node: String) -> Reply<'_, ()> {
        Box::pin(async move { self.post("/control/v1/cluster/remove", &node).await })
    }

    fn back_up_meta(&self) -> Reply<'_, MetaBackup> {
        Box::pin(self.post("/control/v1/meta/backup", &()))
    }

    fn read_meta_backup(&self, wanted: MetaBackupPart) -> Reply<'_, MetaBackupBytes> {
        Box::pin(async move { self.post("/control/v1/meta/backup/read", &wanted).await })
    }

    fn back_up_keys(&self, passphrase: String) -> Reply<'_, KeyBackup> {
        Box::pin(async move { self.post("/control/v1/keys/backup", &passphrase).await })
    }
}
