//! What can be said of the face without a daemon behind it; `tests/http.rs` asks a real one.

use std::collections::BTreeSet;

use utoipa::openapi::{OpenApi, path::Operation};

use super::*;

fn operations(document: &OpenApi) -> Vec<(String, &'static str, &Operation)> {
    let mut all = Vec::new();
    for (path, item) in &document.paths.paths {
        for (method, operation) in [
            ("get", &item.get),
            ("post", &item.post),
            ("put", &item.put),
            ("delete", &item.delete),
            ("patch", &item.patch),
        ] {
            all.extend(operation.as_ref().map(|operation| (path.clone(), method, operation)));
        }
    }
    all
}

#[test]
fn the_document_names_every_path_of_the_api() {
    let document = openapi();
    let all: BTreeSet<String> =
        operations(&document).iter().map(|(path, method, _)| format!("{method} {path}")).collect();
    let expected = [
        "delete /api/v1/sessions/{id}",
        "get /api/v1/destinations",
        "get /api/v1/doctor",
        "get /api/v1/info",
        "get /api/v1/invites/{token}",
        "get /api/v1/report",
        "get /api/v1/sessions",
        "get /api/v1/sessions/{id}",
        "get /api/v1/sessions/{id}/events",
        "get /api/v1/sessions/{id}/export",
        "get /api/v1/sessions/{id}/terminal",
        "get /api/v1/sessions/{id}/wait",
        "get /api/v1/whoami",
        "get /healthz",
        "get /metrics",
        "get /readyz",
        "post /api/v1/invites",
        "post /api/v1/invites/{token}/join",
        "post /api/v1/login",
        "post /api/v1/logout",
        "post /api/v1/sessions",
        "post /api/v1/token",
    ];
    assert_eq!(all.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

#[test]
fn every_operation_documents_its_answers_and_parameters() {
    let document = openapi();
    let mut names = BTreeSet::new();
    for (path, method, operation) in operations(&document) {
        let at = format!("{method} {path}");
        assert!(operation.summary.is_some(), "{at} says what it does");
        assert!(names.insert(operation.operation_id.clone()), "{at} has an operation id of its own");
        let statuses: Vec<&str> = operation.responses.responses.keys().map(String::as_str).collect();
        assert!(statuses.iter().any(|s| s.starts_with(['1', '2'])), "{at} documents success: {statuses:?}");
        assert!(
            statuses.contains(&"500") && statuses.contains(&"400"),
            "{at} documents errors: {statuses:?}"
        );
        assert_eq!(statuses.contains(&"413"), operation.request_body.is_some(), "{at}: bodies are bounded");
        let parameters = serde_json::to_string(&operation.parameters).expect("JSON");
        assert_eq!(
            parameters.matches("\"in\":\"path\"").count(),
            path.matches('{').count(),
            "{at} documents its path"
        );
    }
}

#[test]
fn every_reference_in_the_document_leads_somewhere() {
    let document = openapi();
    let text = document.to_json().expect("JSON");
    let known = document.components.expect("components").schemas;
    let referred: BTreeSet<&str> =
        text.split("\"#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(referred.contains("Problem"));
    for name in referred {
        assert!(known.contains_key(name), "{name} is described");
    }
}

#[test]
fn codes_are_stable_and_statuses_fit() {
    use crate::{lifecycle::Denied, supervisor::Refusal};
    for (failure, status, code) in [
        (Failure::from(Refusal::NotFound("x".into())), 404, "session_not_found"),
        (Refusal::Ambiguous { prefix: "x".into(), count: 2 }.into(), 409, "session_ambiguous"),
        (Refusal::Denied(Denied::Ended).into(), 409, "session_ended"),
        (Refusal::Denied(Denied::Alive).into(), 409, "session_alive"),
        (Refusal::Invalid { field: "ttl_s", problem: "no".into() }.into(), 400, "invalid"),
        (Refusal::Limit("full".into()).into(), 429, "limit_reached"),
        (Refusal::Invite.into(), 404, "invite_not_valid"),
        (Refusal::Full.into(), 507, "disk_full"),
        (Refusal::Engine("away".into()).into(), 502, "engine_failed"),
        (Failure::Unauthenticated, 401, "unauthenticated"),
        (Failure::Forbidden, 403, "forbidden"),
    ] {
        let (found, its_code) = failure.status();
        assert_eq!((found.as_u16(), its_code), (status, code));
    }
}
