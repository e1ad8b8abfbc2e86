//! The HTTP API from the other side: over the local admin socket, or over the network with a token.

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt};
use reqwest::{Method, RequestBuilder, Response, StatusCode, header};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixStream,
};
use tokio_tungstenite::{
    WebSocketStream, client_async, connect_async,
    tungstenite::{self, client::IntoClientRequest, http::HeaderValue},
};

use crate::{
    api::{Problem, Role, Session, SessionList},
    cause::deepest,
    inert::inert,
};

/// How long to wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// Where the daemon is.
#[derive(Clone, Debug)]
pub enum Target {
    /// On this machine: the caller is known by peer credentials.
    Socket(PathBuf),
    /// Anywhere: the caller shows a token.
    Url {
        /// Base URL.
        url: String,
        /// Admin token.
        token: String,
    },
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers.
    #[error("no daemon answers at {at}: {error}; start it with `sandboxctl serve` or ./scripts/run --detach")]
    Away {
        /// Where.
        at: String,
        /// What failed.
        error: String,
    },
    /// The daemon refused.
    #[error("{}", .0.message)]
    Refused(Box<Problem>),
    /// The answer makes no sense, or broke off.
    #[error("the daemon's answer broke off or makes no sense: {0}")]
    Broken(String),
    /// The address makes no sense.
    #[error("{0}")]
    Address(String),
}

/// Either transport of a terminal's WebSocket.
pub trait Transport: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Transport for T {}

/// A terminal's WebSocket.
pub type Terminal = WebSocketStream<Box<dyn Transport>>;

/// Calls the daemon.
#[derive(Clone)]
pub struct Client {
    target: Target,
    http: reqwest::Client,
    base: String,
}

impl Client {
    /// A client for a daemon that need not be up yet.
    pub fn new(target: Target) -> Result<Client, ClientError> {
        let builder = reqwest::Client::builder().connect_timeout(CONNECT).no_proxy();
        let (builder, base) = match &target {
            Target::Socket(path) => {
                // No TLS there: reading the machine's certificates would take longer than the call.
                let builder = builder.unix_socket(path.as_path()).tls_certs_only([]);
                (builder, "http://localhost".to_owned())
            }
            Target::Url { url, token } => {
                let mut bearer = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| {
                    let problem = "--token (SANDBOXCTL_TOKEN) holds characters that no token has; \
                                   `sandboxctl token rotate` on the daemon's machine makes a new one";
                    ClientError::Address(problem.to_owned())
                })?;
                bearer.set_sensitive(true);
                let headers = header::HeaderMap::from_iter([(header::AUTHORIZATION, bearer)]);
                (builder.default_headers(headers), url.trim_end_matches('/').to_owned())
            }
        };
        let http = builder.build().map_err(|e| ClientError::Address(e.to_string()))?;
        Ok(Client { target, http, base })
    }

    /// Calls with an optional JSON body and reads a JSON answer.
    pub async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<T, ClientError> {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.json(body);
        }
        let bytes = self.send(request).await?.bytes().await.map_err(broken)?;
        serde_json::from_slice(&bytes).map_err(|e| ClientError::Broken(e.to_string()))
    }

    /// `GET` with a JSON answer.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.json(Method::GET, path, None::<&()>).await
    }

    /// `DELETE`; the answer, if any, is dropped.
    pub async fn delete(&self, path: &str) -> Result<(), ClientError> {
        self.send(self.request(Method::DELETE, path)).await?;
        Ok(())
    }

    /// `GET` with an answer that is read as it comes.
    pub async fn stream(
        &self,
        path: &str,
        accept: &str,
    ) -> Result<impl Stream<Item = Result<Bytes, ClientError>> + use<>, ClientError> {
        let response = self.send(self.request(Method::GET, path).header(header::ACCEPT, accept)).await?;
        Ok(response.bytes_stream().map_err(broken))
    }

    /// `GET` with an answer of lines, each handed over as it comes.
    pub async fn lines(
        &self,
        path: &str,
        accept: &str,
        mut each: impl FnMut(&str) -> Result<(), ClientError>,
    ) -> Result<(), ClientError> {
        let mut chunks = std::pin::pin!(self.stream(path, accept).await?);
        let mut rest = Vec::new();
        while let Some(chunk) = chunks.next().await {
            rest.extend_from_slice(&chunk?);
            while let Some(end) = rest.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                each(String::from_utf8_lossy(&line).trim_end())?;
            }
        }
        Ok(())
    }

    /// One session by id or prefix.
    pub async fn session(&self, session: &str) -> Result<Session, ClientError> {
        // What is no part of an id would be another path.
        if session.is_empty() || !session.chars().all(|c| c.is_ascii_hexdigit() || c == '-') {
            let message = format!(
                "no session '{}': give an id or how it begins; `sandboxctl list --all` shows those there are",
                inert(session)
            );
            let code = "session_not_found".to_owned();
            let problem = Problem { code, message, field: None, request_id: None };
            return Err(ClientError::Refused(Box::new(problem)));
        }
        self.get(&format!("/api/v1/sessions/{}", segment(session))).await
    }

    /// The sessions.
    pub async fn sessions(&self, all: bool) -> Result<SessionList, ClientError> {
        self.get(&format!("/api/v1/sessions?all={all}")).await
    }

    /// Joins a session's terminal; `after` is the last sequence number that the caller has.
    pub async fn terminal(
        &self,
        session: &str,
        role: Role,
        after: Option<u64>,
    ) -> Result<Terminal, ClientError> {
        let role = if role == Role::Driver { "driver" } else { "observer" };
        let after = after.map(|seq| format!("&after={seq}")).unwrap_or_default();
        let path = format!("/api/v1/sessions/{}/terminal?role={role}{after}", segment(session));
        match &self.target {
            Target::Socket(socket) => {
                let stream = UnixStream::connect(socket).await.map_err(|e| self.away(&e))?;
                let stream: Box<dyn Transport> = Box::new(stream);
                let request =
                    format!("ws://localhost{path}").into_client_request().map_err(|e| self.away(&e))?;
                let (terminal, _) = client_async(request, stream).await.map_err(|e| self.websocket(e))?;
                Ok(terminal)
            }
            Target::Url { url, token } => {
                let url = format!("ws{}{path}", url.trim_end_matches('/').trim_start_matches("http"));
                let mut request =
                    url.into_client_request().map_err(|e| ClientError::Address(e.to_string()))?;
                if let Ok(bearer) = HeaderValue::from_str(&format!("Bearer {token}")) {
                    request.headers_mut().insert(header::AUTHORIZATION, bearer);
                }
                let (terminal, _) = connect_async(request).await.map_err(|e| self.websocket(e))?;
                let config = *terminal.get_config();
                let stream: Box<dyn Transport> = Box::new(terminal.into_inner());
                Ok(WebSocketStream::from_raw_socket(
                    stream,
                    tungstenite::protocol::Role::Client,
                    Some(config),
                )
                .await)
            }
        }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = request.send().await.map_err(|e| self.away(&e))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let bytes = response.bytes().await.map_err(broken)?;
        Err(refused(status, &bytes))
    }

    fn away(&self, error: &(dyn std::error::Error + 'static)) -> ClientError {
        let at = match &self.target {
            Target::Socket(path) => path.display().to_string(),
            Target::Url { url, .. } => url.clone(),
        };
        ClientError::Away { at, error: deepest(error).to_string() }
    }

    fn websocket(&self, error: tungstenite::Error) -> ClientError {
        match error {
            tungstenite::Error::Http(answer) => {
                refused(answer.status(), answer.body().as_deref().unwrap_or_default())
            }
            other => self.away(&other),
        }
    }
}

fn refused(status: StatusCode, body: &[u8]) -> ClientError {
    ClientError::Refused(serde_json::from_slice(body).unwrap_or_else(|_| {
        Box::new(Problem {
            code: status.as_u16().to_string(),
            message: format!("the daemon answered {status}"),
            field: None,
            request_id: None,
        })
    }))
}

fn broken(error: reqwest::Error) -> ClientError {
    ClientError::Broken(error.to_string())
}

/// A path segment made of what somebody typed: what no id holds cannot leave the segment.
fn segment(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
}
