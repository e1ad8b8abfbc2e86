//! The HTTP API as strangers meet it: over TCP, held to the document that the server gives of itself.

mod common;

use std::{collections::BTreeSet, time::Duration};

use common::{Daemon, Rung};
use reqwest::{Method, RequestBuilder, Response, header};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Every operation of the document: method, path, documented statuses.
fn operations(document: &Value) -> Vec<(Method, String, BTreeSet<String>)> {
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("a path's methods") {
            let Ok(method) = method.to_uppercase().parse::<Method>() else { continue };
            let Some(responses) = operation["responses"].as_object() else { continue };
            all.push((method, path.clone(), responses.keys().cloned().collect()));
        }
    }
    all
}

async fn answer(request: RequestBuilder) -> (u16, Value) {
    let response: Response = request.send().await.expect("an answer");
    assert!(response.headers().contains_key("x-request-id"), "every answer has an id");
    assert_eq!(response.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    let status = response.status().as_u16();
    // A success may be a stream without an end; what fails has a body that says why.
    let body = if status >= 400 { response.json().await.expect("a problem") } else { Value::Null };
    (status, body)
}

#[tokio::test]
async fn what_the_server_answers_is_what_its_document_says() {
    let daemon = Daemon::start(Rung::Local).await;
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let document: Value = http
        .get(format!("{}/api/openapi.json", daemon.url))
        .send()
        .await
        .expect("an answer")
        .json()
        .await
        .expect("the document");
    let operations = operations(&document);
    assert!(operations.len() >= 20, "{operations:?}");
    for (method, path, documented) in operations {
        let path = path.replace("{id}", "0123").replace("{token}", "inv_unknown");
        let at = |query: &str, body: Option<&'static str>, token: Option<&str>| {
            let mut request = http.request(method.clone(), format!("{}{path}{query}", daemon.url));
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            if let Some(body) = body {
                request = request.header(header::CONTENT_TYPE, "application/json").body(body);
            }
            request
        };
        for (what, request) in [
            ("a stranger", at("", None, None)),
            ("the admin", at("", None, Some(&daemon.token))),
            ("an unknown field", at("", Some(r#"{"nonsense":1}"#), Some(&daemon.token))),
            ("no JSON", at("", Some("{"), Some(&daemon.token))),
            ("an unknown parameter", at("?nonsense=1", None, Some(&daemon.token))),
        ] {
            let (status, problem) = answer(request).await;
            let told = format!("{method} {path}, {what}: {status} {problem}");
            assert!(documented.contains(&status.to_string()), "{told} is not among {documented:?}");
            assert_ne!(status, 500, "{told}");
            if status >= 400 {
                assert_ne!(problem["code"], "no_route", "{told}: it is documented, so it is there");
                assert!(problem["message"].as_str().is_some_and(|m| !m.is_empty()), "{told}");
                assert!(problem["request_id"].is_string(), "{told}");
            }
        }
    }
}

#[tokio::test]
async fn other_sites_and_other_names_are_kept_out() {
    let daemon = Daemon::start(Rung::Local).await;
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let url = |path: &str| format!("{}{path}", daemon.url);

    let rebound = http.get(url("/api/v1/whoami")).header(header::HOST, "evil.example");
    let (status, problem) = answer(rebound).await;
    assert_eq!((status, problem["code"].as_str()), (421, Some("foreign_host")));
    let probe = http.get(url("/healthz")).header(header::HOST, "any.name.example");
    assert_eq!(answer(probe).await.0, 200, "probes ask by any name");

    let login = || http.post(url("/api/v1/login")).json(&serde_json::json!({ "token": daemon.token }));
    let (status, problem) = answer(login().header(header::ORIGIN, "http://evil.example")).await;
    assert_eq!((status, problem["code"].as_str()), (403, Some("foreign_origin")));

    let response = login().header(header::ORIGIN, &daemon.url).send().await.expect("an answer");
    assert_eq!(response.status(), 204);
    let cookie = response.headers()[header::SET_COOKIE].to_str().expect("ASCII").to_owned();
    for part in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let cookie = cookie.split(';').next().expect("a pair").to_owned();
    let with_cookie =
        |method: Method, path: &str| http.request(method, url(path)).header(header::COOKIE, &cookie);
    assert_eq!(answer(with_cookie(Method::GET, "/api/v1/sessions")).await.0, 200);
    let (status, problem) = answer(with_cookie(Method::POST, "/api/v1/invites")).await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (403, Some("foreign_origin")),
        "a cookie alone changes nothing"
    );
    let ours = with_cookie(Method::POST, "/api/v1/invites").header(header::ORIGIN, &daemon.url);
    assert_eq!(answer(ours).await.0, 201);
    let rotate = with_cookie(Method::POST, "/api/v1/token").header(header::ORIGIN, &daemon.url);
    let (status, problem) = answer(rotate).await;
    assert_eq!((status, problem["code"].as_str()), (403, Some("admin_socket_only")));
    let upgrade =
        with_cookie(Method::GET, "/api/v1/sessions/0123/terminal").header(header::UPGRADE, "websocket");
    let (status, problem) = answer(upgrade).await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (403, Some("foreign_origin")),
        "nor does it open a terminal"
    );
}

#[tokio::test]
async fn guessing_tokens_is_slowed_down() {
    let daemon = Daemon::start(Rung::Local).await;
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let guess = || http.get(format!("{}/api/v1/sessions", daemon.url)).bearer_auth("sbx_guess");
    let mut codes = BTreeSet::new();
    for _ in 0..40 {
        let (status, problem) = answer(guess()).await;
        codes.insert((status, problem["code"].as_str().unwrap_or_default().to_owned()));
    }
    let expected = [(401, "wrong_token".to_owned()), (429, "throttled".to_owned())];
    assert_eq!(codes, BTreeSet::from(expected));
    assert!(daemon.client.sessions(false).await.is_ok(), "the admin socket is not held back");
}

#[tokio::test]
async fn connections_beyond_the_limit_are_turned_away_and_cost_no_session_anything() {
    let daemon = Daemon::start_with(Rung::Local, "max_connections = 20").await;
    let address = daemon.url.strip_prefix("http://").expect("plain HTTP").to_owned();
    let mut open = Vec::new();
    let mut refused = 0;
    for _ in 0..10_000 {
        let mut connection = TcpStream::connect(&address).await.expect("the system accepts");
        let mut byte = [0];
        match timeout(
            Duration::from_millis(if open.len() < 20 { 10 } else { 10_000 }),
            connection.read(&mut byte),
        )
        .await
        {
            Err(_) => open.push(connection),
            Ok(_) => refused += 1,
        }
    }
    assert_eq!((open.len(), refused), (20, 9_980));
    let session = daemon.shell("echo said").await;
    daemon.ended(&session).await;
    assert_eq!(daemon.export(&session).await.output(), "said\r\n");
    // Whoever leaves makes room.
    open.clear();
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    common::eventually("somebody is let in again", || async {
        http.get(format!("{}/healthz", daemon.url)).send().await.is_ok_and(|answer| answer.status() == 200)
    })
    .await;
}

/// They come, and say nothing, or begin and go no further. They do not leave by themselves.
#[tokio::test]
async fn who_asks_nothing_takes_nobodys_place_for_long() {
    const PLACES: usize = 40;
    let beginnings: [&[u8]; 5] = [
        b"",
        b"PRI * HT",
        b"GET /healthz HTTP/1.1\r\nhost: x\r\n",
        // HTTP/2, and then no frame that it must have.
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        // And then no request, nor an answer to a ping.
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
    ];
    let daemon = Daemon::start_with(Rung::Local, &format!("max_connections = {PLACES}")).await;
    let address = daemon.url.strip_prefix("http://").expect("plain HTTP").to_owned();
    let mut held = Vec::new();
    for n in 0..PLACES {
        let mut connection = TcpStream::connect(&address).await.expect("the system accepts");
        connection.write_all(beginnings[n % beginnings.len()]).await.expect("it is let in");
        held.push(connection);
    }
    let http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().expect("a client");
    let ask = || http.get(format!("{}/healthz", daemon.url)).send();
    assert!(ask().await.is_err(), "all places are taken");
    common::eventually("a place is free", || async { ask().await.is_ok() }).await;
    for (n, mut connection) in held.into_iter().enumerate() {
        let ended = async {
            let mut all = Vec::new();
            connection.read_to_end(&mut all).await.map_or(true, |_| true)
        };
        assert!(timeout(Duration::from_secs(60), ended).await.unwrap_or(false), "{n} is still there");
    }
}
