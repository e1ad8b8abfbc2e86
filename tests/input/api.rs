//! The HTTP API: every property of every body and every parameter of every query, as its document has them.

use reqwest::{Method, header};
use sandboxctl::api::{Invite, InviteRequest};
use serde_json::{Map, Value, json};

use crate::common::{Daemon, Rung};

/// Values of the right type that make no sense, beside those that the document's bounds tell of.
const OUTSIDE: &[(&str, &str, &[&str])] = &[
    ("/api/v1/sessions", "user.name", &["\"\"", "\" \"", "\"a\\u001b[31m\"", "\"a\\u202eb\""]),
    ("/api/v1/sessions", "user.email", &["\"\"", "\"ada\"", "\"a@\"", "\"a b@c\"", "\"a@b@c\""]),
    ("/api/v1/sessions", "profile", &["\"\"", "\"none\""]),
    ("/api/v1/sessions", "image", &["\"\"", "\"a b\"", "\"a\\u0000\""]),
    ("/api/v1/sessions", "program", &["[\"\"]", "[\"a\\u0000\"]"]),
    ("/api/v1/sessions", "ttl_s", &["18446744073709551615"]),
    ("/api/v1/sessions", "workspace", &["\"\"", "\"..\"", "\"a/b\"", "\"-a\""]),
    ("/api/v1/sessions", "api_key", &["\"sk-ant-x\""]),
    ("/api/v1/invites", "profile", &["\"\"", "\"none\""]),
    ("/api/v1/invites", "expires_s", &["7776001", "18446744073709551615"]),
    ("/api/v1/invites/{token}/join", "name", &["\"\"", "\"a\\u0007\""]),
    ("/api/v1/invites/{token}/join", "email", &["\"\"", "\"ada\"", "\"a@b@c\""]),
    ("/api/v1/invites/{token}/join", "consent", &["false"]),
    ("/api/v1/invites/{token}/join", "api_key", &["\"sk-ant-x\""]),
    ("/api/v1/invites/{token}/join", "cols", &["0", "1001"]),
    ("/api/v1/invites/{token}/join", "rows", &["0", "1001"]),
    ("/api/v1/sessions/{id}", "note", &["a%07b"]),
    ("/api/v1/report", "by", &["", "none", "user,none"]),
    ("/api/v1/report", "since", &["", "soon", "2026-13-01"]),
    ("/api/v1/report", "until", &["", "soon", "2026-02-30"]),
    ("/api/v1/sessions/{id}/events", "kind", &["none", "hook,none", ""]),
];

/// Texts that may be anything: a wrong token is another refusal.
const FREE: [(&str, &str); 1] = [("/api/v1/login", "token")];

/// The schema that is meant, past references and the choice of nothing.
fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or_default();
        return resolve(document, &document["components"]["schemas"][name]);
    }
    let mut choices = schema["oneOf"].as_array().into_iter().flatten();
    choices.find(|choice| choice["type"] != "null").map_or(schema, |choice| resolve(document, choice))
}

fn kind(schema: &Value) -> &str {
    let kinds = schema["type"].as_array().into_iter().flatten().filter_map(Value::as_str);
    kinds.chain(schema["type"].as_str()).find(|kind| *kind != "null").unwrap_or("object")
}

/// Every field below a schema: its path and what it is.
fn fields<'a>(prefix: &str, document: &'a Value, schema: &'a Value, found: &mut Vec<(String, &'a Value)>) {
    for (name, property) in resolve(document, schema)["properties"].as_object().into_iter().flatten() {
        let path = format!("{prefix}{name}");
        found.push((path.clone(), resolve(document, property)));
        fields(&format!("{path}."), document, property, found);
    }
}

/// JSON values of another type, and beyond the document's bounds.
fn wrong(schema: &Value) -> Vec<Value> {
    let mut all = match kind(schema) {
        "boolean" => vec![json!("yes"), json!(1), json!([])],
        "integer" => vec![json!("soon"), json!(1.5), json!(-1), json!(true), json!([1])],
        "array" => vec![json!("x"), json!(5), json!([5]), json!({})],
        "string" => vec![json!(5), json!(true), json!(["x"]), json!({})],
        _ => vec![json!("Ada <ada@example.org>"), json!(5)],
    };
    all.extend(schema["minimum"].as_u64().filter(|least| *least > 0).map(|least| json!(least - 1)));
    all.extend(schema["maximum"].as_u64().map(|most| json!(most + 1)));
    all.extend(schema["maxLength"].as_u64().map(|most| json!("x".repeat(most as usize + 1))));
    all
}

/// A body with one more field, by its path.
fn with(mut body: Map<String, Value>, path: &str, value: Value) -> Value {
    match path.split_once('.') {
        Some((parent, rest)) => {
            let mut inner = body.get(parent).and_then(Value::as_object).cloned().unwrap_or_default();
            if parent == "user" {
                inner.insert("name".to_owned(), json!("Ada"));
                inner.insert("email".to_owned(), json!("ada@example.org"));
            }
            body.insert(parent.to_owned(), with(inner, rest, value));
        }
        None => drop(body.insert(path.to_owned(), value)),
    }
    Value::Object(body)
}

struct Api {
    daemon: Daemon,
    http: reqwest::Client,
    document: Value,
    invite: String,
    session: String,
}

impl Api {
    async fn start() -> Api {
        let daemon = Daemon::start(Rung::Local).await;
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        let document = http.get(format!("{}/api/openapi.json", daemon.url)).send().await.expect("an answer");
        let document = document.json().await.expect("the document");
        let invite: Invite = daemon
            .client
            .json(Method::POST, "/api/v1/invites", Some(&InviteRequest::default()))
            .await
            .expect("an invite");
        let invite = invite.url.rsplit('/').next().expect("a token").to_owned();
        let session = daemon.shell("true").await;
        daemon.ended(&session).await;
        Api { daemon, http, document, invite, session: session.id.to_string() }
    }

    /// Sends what must be refused by this field's name, with what would be right.
    async fn refuses(&self, method: &str, path: &str, query: &str, body: Option<&str>, field: &str) {
        let at = path.replace("{token}", &self.invite).replace("{id}", &self.session);
        let method: Method = method.to_uppercase().parse().expect("a method");
        let url = format!("{}{at}{query}", self.daemon.url);
        let mut request = self.http.request(method.clone(), url).bearer_auth(&self.daemon.token);
        if let Some(body) = body {
            request = request.header(header::CONTENT_TYPE, "application/json").body(body.to_owned());
        }
        let answer = request.send().await.expect("an answer");
        let status = answer.status().as_u16();
        let problem: Value = answer.json().await.unwrap_or_default();
        let told = format!("{method} {path}{query} {}: {status} {problem}", body.unwrap_or_default());
        assert_eq!(status, 400, "{told}");
        assert_eq!(problem["code"], "invalid", "{told}");
        let named = problem["field"].as_str().unwrap_or_default();
        // An entry of a list has a number.
        assert!(
            named == field || named.strip_prefix(field).is_some_and(|rest| rest.starts_with('[')),
            "{told}"
        );
        let message = problem["message"].as_str().unwrap_or_default();
        assert!(message.starts_with(field), "{told}");
        let remedies = ["give", "there are", "leave", "agree"];
        assert!(remedies.iter().any(|remedy| message.contains(remedy)), "{told}");
        assert!(!message.contains("at line"), "{told}");
    }
}

#[tokio::test]
async fn every_field_of_every_body_is_refused_by_its_name() {
    let api = Api::start().await;
    let mut seen = Vec::new();
    for (path, item) in api.document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("methods") {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            let required = if path.ends_with("/join") {
                json!({ "name": "Ada", "email": "ada@example.org", "consent": true })
            } else {
                json!({})
            };
            let required = required.as_object().expect("an object").clone();
            let mut all = Vec::new();
            fields("", &api.document, schema, &mut all);
            for (field, schema) in &all {
                let rows = OUTSIDE.iter().filter(|row| (row.0, row.1) == (path.as_str(), field.as_str()));
                let rows: Vec<Value> = rows
                    .flat_map(|row| row.2)
                    .map(|value| serde_json::from_str(value).expect("JSON"))
                    .collect();
                let bounded = schema.get("maximum").is_some() || matches!(kind(schema), "boolean" | "object");
                let covered = bounded || !rows.is_empty() || FREE.contains(&(path, field));
                assert!(covered, "no row says what {field} of {path} refuses");
                for value in wrong(schema).into_iter().chain(rows) {
                    let body = with(required.clone(), field, value).to_string();
                    api.refuses(method, path, "", Some(&body), field).await;
                }
                seen.push((path.clone(), field.clone()));
            }
            if all.is_empty() {
                continue;
            }
            let body = with(required.clone(), "nonsense", json!(1)).to_string();
            api.refuses(method, path, "", Some(&body), "nonsense").await;
            for name in required.keys() {
                let mut body = required.clone();
                body.remove(name);
                api.refuses(method, path, "", Some(&Value::Object(body).to_string()), name).await;
            }
        }
    }
    api.refuses("post", "/api/v1/sessions", "", Some(r#"{"user":{"name":"Ada"}}"#), "user.email").await;
    api.refuses("post", "/api/v1/sessions", "", Some(r#"{"user":{"email":"a@b"}}"#), "user.name").await;
    let nested = r#"{"user":{"name":"Ada","email":"a@b","age":36}}"#;
    api.refuses("post", "/api/v1/sessions", "", Some(nested), "user.age").await;
    api.refuses("post", "/api/v1/sessions", "", Some(r#"{"cols":1,"cols":2}"#), "cols").await;
    assert!(seen.len() >= 20, "{seen:?}");
    let sessions = api.daemon.client.sessions(true).await.expect("a list").sessions;
    assert_eq!(sessions.len(), 1, "nothing was started");
}

#[tokio::test]
async fn every_parameter_of_every_query_is_refused_by_its_name() {
    let api = Api::start().await;
    let mut seen = 0;
    for (path, item) in api.document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("methods") {
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let mut queried = false;
            for parameter in parameters.filter(|p| p["in"] == "query") {
                let name = parameter["name"].as_str().expect("a name");
                let schema = resolve(&api.document, &parameter["schema"]);
                let mut values: Vec<String> = match kind(schema) {
                    "boolean" => vec!["maybe".to_owned(), "1".to_owned(), String::new()],
                    "integer" => {
                        ["soon", "-1", "1.5", "", "18446744073709551616"].map(str::to_owned).to_vec()
                    }
                    _ if schema.get("enum").is_some() => vec!["owner".to_owned(), String::new()],
                    _ => Vec::new(),
                };
                values.extend(schema["maximum"].as_u64().map(|most| (most + 1).to_string()));
                let most = schema["maxLength"].as_u64().or_else(|| parameter["maxLength"].as_u64());
                values.extend(most.map(|most| "x".repeat(most as usize + 1)));
                let rows = OUTSIDE.iter().filter(|row| (row.0, row.1) == (path.as_str(), name));
                values.extend(rows.flat_map(|row| row.2).map(|value| (*value).to_owned()));
                assert!(!values.is_empty(), "no row says what {name} of {path} refuses");
                for value in values {
                    api.refuses(method, path, &format!("?{name}={value}"), None, name).await;
                }
                queried = true;
                seen += 1;
            }
            if queried {
                api.refuses(method, path, "?nonsense=1", None, "nonsense").await;
            }
        }
    }
    assert!(seen >= 9, "{seen}");
}
