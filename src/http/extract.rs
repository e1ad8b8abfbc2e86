//! Parsing at the door: bodies, queries and paths become words of [`crate::api`], or a problem that names
//! the field.

use axum::{
    body::to_bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, RawPathParams, Request},
    http::{HeaderMap, header, request::Parts},
};
use serde::de::DeserializeOwned;

use super::{AppState, Failure, allowed::allowed};
use crate::{id::SessionId, inert::inert};

/// Largest body of any request.
pub(super) const BODY_LIMIT: usize = 64 << 10; // bytes

/// A JSON body: an object. No body at all is `{}`, and so is `null`.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<AppState> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &AppState) -> Result<Body<T>, Failure> {
        let is_json = is_json(request.headers());
        let read = to_bytes(request.into_body(), BODY_LIMIT).await;
        let bytes = read.map_err(|_| Failure::TooLarge { limit_bytes: BODY_LIMIT })?;
        if bytes.is_empty() {
            return parse(b"{}").map(Body);
        }
        // Also what keeps another site's plain form from being taken for a request of ours.
        if !is_json {
            return Err(Failure::MediaType);
        }
        parse(&bytes).map(Body)
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    let bytes = match bytes.trim_ascii() {
        b"null" => b"{}",
        object if object.starts_with(b"{") => object,
        // Else serde would take a list for the fields in their order.
        _ => return Err(invalid(None, "give the body as a JSON object".to_owned())),
    };
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let parsed = serde_path_to_error::deserialize(&mut deserializer);
    let value = parsed.map_err(|error| {
        let path = error.path().to_string();
        invalid(Some(path).filter(|path| path != "."), error.inner().to_string())
    })?;
    deserializer.end().map_err(|error| invalid(None, error.to_string()))?;
    Ok(value)
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

/// A query string. What it does not know is an error.
pub(super) struct Asked<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<AppState> for Asked<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Asked<T>, Failure> {
        let query = Query::<T>::try_from_uri(&parts.uri).map_err(|rejection| {
            let text = rejection.body_text();
            let text = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
            match text.split_once(": ") {
                Some((path, message)) if is_name(path) => invalid(Some(path.to_owned()), message.to_owned()),
                _ => invalid(None, text.to_owned()),
            }
        })?;
        Ok(Asked(query.0))
    }
}

/// The session that the path names, by its id or a unique prefix of it.
pub(super) struct Named(pub(super) SessionId);

impl FromRequestParts<AppState> for Named {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Named, Failure> {
        let caller = super::Caller::from_request_parts(parts, state).await?;
        // Whoever is nobody learns nothing about which sessions there are.
        if caller == super::Caller::Nobody {
            return Err(Failure::Unauthenticated);
        }
        Ok(Named(state.supervisor.resolve(&segment(parts, state).await?).await?))
    }
}

/// A path's one parameter.
pub(super) struct Segment(pub(super) String);

impl FromRequestParts<AppState> for Segment {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Segment, Failure> {
        segment(parts, state).await.map(Segment)
    }
}

async fn segment(parts: &mut Parts, state: &AppState) -> Result<String, Failure> {
    let name = match RawPathParams::from_request_parts(parts, state).await {
        Ok(params) => params.iter().next().map(|(name, _)| name.to_owned()),
        Err(_) => None,
    };
    let path = Path::<String>::from_request_parts(parts, state).await;
    path.map(|path| path.0).map_err(|rejection| invalid(name, rejection.body_text()))
}

/// Serde names unknown, missing and repeated fields in its sentence only. What a field takes, the document says
/// better.
fn invalid(field: Option<String>, message: String) -> Failure {
    let named = || {
        let rest = ["unknown field `", "missing field `", "duplicate field `"]
            .iter()
            .find_map(|what| message.strip_prefix(what))?;
        rest.split('`').next().map(str::to_owned)
    };
    // An unknown field's path ends in the field itself; a missing one's stops at its parent.
    let field = match (field, named()) {
        (Some(path), Some(name)) if path.rsplit('.').next() != Some(&name) => Some(format!("{path}.{name}")),
        (Some(path), _) => Some(path),
        (None, named) => named,
    };
    let sentence = |field: &String| {
        let takes = allowed(field).unwrap_or("leave it out");
        let problem = match message.split_once(' ').map_or("", |(what, _)| what) {
            "unknown" if message.starts_with("unknown field") => {
                let there_are = message.split_once(", expected ").map_or("none", |(_, rest)| rest);
                let there_are =
                    there_are.split(" at line ").next().unwrap_or_default().trim_start_matches("one of ");
                format!("there is no such field; there are {}", there_are.replace('`', ""))
            }
            "missing" => format!("it is missing; {takes}"),
            "duplicate" => "it is there twice; give it once".to_owned(),
            _ => takes.to_owned(),
        };
        format!("{}: {problem}", inert(field))
    };
    let message = field.as_ref().map_or_else(|| inert(&message), sentence);
    Failure::Invalid { field, message }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{JoinRequest, StartRequest};

    fn field<T: DeserializeOwned>(body: &str) -> Option<String> {
        match parse::<T>(body.as_bytes()) {
            Err(Failure::Invalid { field, .. }) => field,
            Err(other) => panic!("another failure: {other}"),
            Ok(_) => panic!("{body} is taken"),
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(field::<StartRequest>(r#"{"ttl_s":"soon"}"#).as_deref(), Some("ttl_s"));
        assert_eq!(field::<StartRequest>(r#"{"tll_s":5}"#).as_deref(), Some("tll_s"));
        assert_eq!(field::<StartRequest>(r#"{"user":{"name":"Ada"}}"#).as_deref(), Some("user.email"));
        assert_eq!(
            field::<StartRequest>(r#"{"user":{"name":"a","email":1}}"#).as_deref(),
            Some("user.email")
        );
        assert_eq!(field::<StartRequest>(r#"{"cols":70000}"#).as_deref(), Some("cols"));
        assert_eq!(field::<JoinRequest>(r#"{"name":"Ada"}"#).as_deref(), Some("email"));
        assert_eq!(field::<StartRequest>(r#"[]{"#), None);
        assert_eq!(field::<StartRequest>("{} {}"), None);
    }

    #[test]
    fn no_body_is_an_empty_object() {
        assert_eq!(parse::<StartRequest>(b"{}").ok(), Some(StartRequest::default()));
    }
}
