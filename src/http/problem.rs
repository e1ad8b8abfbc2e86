//! From what went wrong to what the caller is told: one table, exhaustive, without a catch-all.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use utoipa::{
    IntoResponses,
    openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder},
};

use crate::{api::Problem, lifecycle::Denied, supervisor::Refusal};

/// Why a request is not carried out: the supervisor refuses it, or the face itself does.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The supervisor refuses.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Nothing says who the caller is.
    #[error("say who you are: send the admin token as `Authorization: Bearer …`, or log in on the page")]
    Unauthenticated,
    /// The token is wrong.
    #[error("the token is wrong; `sandboxctl token rotate` makes a new one")]
    WrongToken,
    /// The caller is known and may not.
    #[error("you may not do this; the admin may")]
    Forbidden,
    /// The request is for the admin socket alone.
    #[error("this works only over the local admin socket: run it on the daemon's machine")]
    SocketOnly,
    /// Too many wrong tokens came from this address.
    #[error("too many wrong tokens from your address; try again in {retry_after_s} s")]
    Throttled {
        /// When.
        retry_after_s: u64,
    },
    /// The request was made by another site's page.
    #[error("this request comes from another site; open the page at its own address, or set `public_url`")]
    ForeignOrigin,
    /// The request names a host that is not ours.
    #[error(
        "this daemon does not answer for that host name; set `public_url` to the address it is reached by"
    )]
    ForeignHost,
    /// A field of body, query or path is wrong.
    #[error("{message}")]
    Invalid {
        /// The field, where one can be named.
        field: Option<String>,
        /// What is wrong.
        message: String,
    },
    /// The body is too large.
    #[error("the body is larger than {limit_bytes} bytes")]
    TooLarge {
        /// Most that is taken.
        limit_bytes: usize,
    },
    /// The body is not JSON by its own account.
    #[error("send the body as JSON, with `Content-Type: application/json`")]
    MediaType,
    /// A terminal is a WebSocket.
    #[error("the terminal is a WebSocket (version 13); this request asks for no upgrade to one")]
    NoUpgrade,
    /// There is no such path.
    #[error("there is nothing at this path; /api/openapi.json says what there is")]
    NoRoute,
    /// The path does not take this method.
    #[error("this path does not take this method; /api/openapi.json says which it takes")]
    NoMethod,
    /// The daemon cannot start sessions now.
    #[error("{0}")]
    NotReady(String),
}

impl Failure {
    /// Status and stable code.
    pub fn status(&self) -> (StatusCode, &'static str) {
        match self {
            Failure::Refused(refusal) => match refusal {
                Refusal::Invalid { .. } => (StatusCode::BAD_REQUEST, "invalid"),
                Refusal::NotFound(_) => (StatusCode::NOT_FOUND, "session_not_found"),
                Refusal::Ambiguous { .. } => (StatusCode::CONFLICT, "session_ambiguous"),
                Refusal::Denied(Denied::Spare) => (StatusCode::NOT_FOUND, "session_not_found"),
                Refusal::Denied(Denied::Ended) | Refusal::WorkspaceGone => {
                    (StatusCode::CONFLICT, "session_ended")
                }
                Refusal::Denied(Denied::Alive) => (StatusCode::CONFLICT, "session_alive"),
                Refusal::Limit(_) => (StatusCode::TOO_MANY_REQUESTS, "limit_reached"),
                Refusal::Invite => (StatusCode::NOT_FOUND, "invite_not_valid"),
                Refusal::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
                Refusal::NotYet(_) => (StatusCode::SERVICE_UNAVAILABLE, "session_waits"),
                Refusal::Full => (StatusCode::INSUFFICIENT_STORAGE, "disk_full"),
                Refusal::ReadOnly => (StatusCode::INSUFFICIENT_STORAGE, "disk_read_only"),
                Refusal::Damaged(_) => (StatusCode::INTERNAL_SERVER_ERROR, "record_damaged"),
                Refusal::Engine(_) => (StatusCode::BAD_GATEWAY, "engine_failed"),
                Refusal::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
            },
            Failure::Unauthenticated => (StatusCode::UNAUTHORIZED, "unauthenticated"),
            Failure::WrongToken => (StatusCode::UNAUTHORIZED, "wrong_token"),
            Failure::Forbidden => (StatusCode::FORBIDDEN, "forbidden"),
            Failure::SocketOnly => (StatusCode::FORBIDDEN, "admin_socket_only"),
            Failure::Throttled { .. } => (StatusCode::TOO_MANY_REQUESTS, "throttled"),
            Failure::ForeignOrigin => (StatusCode::FORBIDDEN, "foreign_origin"),
            Failure::ForeignHost => (StatusCode::MISDIRECTED_REQUEST, "foreign_host"),
            Failure::Invalid { .. } => (StatusCode::BAD_REQUEST, "invalid"),
            Failure::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            Failure::MediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "media_type"),
            Failure::NoUpgrade => (StatusCode::UPGRADE_REQUIRED, "no_upgrade"),
            Failure::NoRoute => (StatusCode::NOT_FOUND, "no_route"),
            Failure::NoMethod => (StatusCode::METHOD_NOT_ALLOWED, "no_method"),
            Failure::NotReady(_) => (StatusCode::SERVICE_UNAVAILABLE, "not_ready"),
        }
    }

    /// Which field of the request is wrong.
    fn field(&self) -> Option<String> {
        match self {
            Failure::Refused(Refusal::Invalid { field, .. }) => Some((*field).to_owned()),
            Failure::Invalid { field, .. } => field.clone(),
            _ => None,
        }
    }

    /// What the caller had better do with time or with the protocol.
    fn advice(&self) -> Option<(header::HeaderName, HeaderValue)> {
        match self {
            Failure::Throttled { retry_after_s } => Some((header::RETRY_AFTER, (*retry_after_s).into())),
            Failure::Refused(Refusal::Stopping | Refusal::NotYet(_) | Refusal::Full | Refusal::ReadOnly)
            | Failure::NotReady(_) => Some((header::RETRY_AFTER, HeaderValue::from_static("5"))),
            Failure::Unauthenticated | Failure::WrongToken => {
                Some((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")))
            }
            Failure::NoUpgrade => Some((header::UPGRADE, HeaderValue::from_static("websocket"))),
            _ => None,
        }
    }
}

impl IntoResponse for Failure {
    /// Leaves the words to [`super::observe`], which knows the request's id and logs what is inside.
    fn into_response(self) -> Response {
        let (status, code) = self.status();
        let problem = Problem {
            code: code.to_owned(),
            message: self.to_string(),
            field: self.field(),
            request_id: None,
        };
        let advice = self.advice();
        let inner = match self {
            Failure::Refused(Refusal::Internal(error)) => Some(format!("{error:#}")),
            _ => None,
        };
        let mut response = status.into_response();
        response.headers_mut().extend(advice);
        response.extensions_mut().insert(Told { problem, inner });
        response
    }
}

/// A problem on its way out, before its request's id is in it.
#[derive(Clone)]
pub(super) struct Told {
    pub(super) problem: Problem,
    /// For the log, not for the caller.
    pub(super) inner: Option<String>,
}

/// Any path that nothing is at.
pub(super) async fn no_route() -> Failure {
    Failure::NoRoute
}

/// Any method that a path does not take.
pub(super) async fn no_method() -> Failure {
    Failure::NoMethod
}

type Responses = std::collections::BTreeMap<String, RefOr<utoipa::openapi::Response>>;

fn documented(statuses: &[(StatusCode, &str)]) -> Responses {
    let describe = |(status, description): &(StatusCode, &str)| {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        let response = ResponseBuilder::new().description(*description).content("application/json", content);
        (status.as_u16().to_string(), RefOr::T(response.build()))
    };
    statuses.iter().map(describe).collect()
}

/// For the document: what any request may be answered, since a wrong token is refused wherever it is shown.
pub(super) struct Known;

impl IntoResponses for Known {
    fn responses() -> Responses {
        documented(&[
            (StatusCode::BAD_REQUEST, "A field of the request is wrong; `field` names it."),
            (StatusCode::FORBIDDEN, "The caller may not, or the request comes from another site."),
            (StatusCode::MISDIRECTED_REQUEST, "The request names a host that is not ours."),
            (StatusCode::UNAUTHORIZED, "Nothing says who the caller is, or the token is wrong."),
            (StatusCode::TOO_MANY_REQUESTS, "Too many wrong tokens, or a limit on sessions is reached."),
            (
                StatusCode::INTERNAL_SERVER_ERROR,
                "Something inside failed: a record is damaged, or the daemon's log says what.",
            ),
        ])
    }
}

/// For the document: what a request about one session may be answered besides.
pub(super) struct OfSession;

impl IntoResponses for OfSession {
    fn responses() -> Responses {
        let mut responses = Known::responses();
        responses.extend(documented(&[
            (StatusCode::NOT_FOUND, "No session has this id or prefix."),
            (
                StatusCode::CONFLICT,
                "Several sessions have this prefix, or the session's phase does not allow it.",
            ),
            (StatusCode::SERVICE_UNAVAILABLE, "The session is not taken over from an earlier daemon yet."),
            (StatusCode::INSUFFICIENT_STORAGE, "The disk of the state folder is full, or read-only."),
        ]));
        responses
    }
}

/// For the document: what a request with a body may be answered besides.
pub(super) struct WithBody;

impl IntoResponses for WithBody {
    fn responses() -> Responses {
        let mut responses = Known::responses();
        responses.extend(documented(&[
            (StatusCode::PAYLOAD_TOO_LARGE, "The body is too large."),
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, "The body is not JSON."),
        ]));
        responses
    }
}

/// For the document: what a request that starts a session may be answered besides.
pub(super) struct Starting;

impl IntoResponses for Starting {
    fn responses() -> Responses {
        let mut responses = WithBody::responses();
        responses.extend(documented(&[
            (StatusCode::BAD_GATEWAY, "The engine failed."),
            (StatusCode::SERVICE_UNAVAILABLE, "The daemon is stopping."),
            (StatusCode::INSUFFICIENT_STORAGE, "The disk of the state folder is full, or read-only."),
        ]));
        responses
    }
}
