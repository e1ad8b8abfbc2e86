//! The HTTP API under Schemathesis: requests made from the daemon's own document, good and bad, one by one and in
//! sequences that follow its links. No answer may be a 5xx, or one that the document does not have.

mod common;

use std::{path::PathBuf, process::Stdio};

use common::{Daemon, Rung};
use reqwest::Method;
use sandboxctl::api::{Invite, InviteRequest};

/// Where `./scripts/test` installs it.
fn program() -> PathBuf {
    std::env::var_os("SANDBOXCTL_SCHEMATHESIS").map_or_else(|| "schemathesis".into(), PathBuf::from)
}

#[tokio::test]
async fn every_answer_is_one_that_the_document_has() {
    // It starts many sessions, and ends few.
    let config = "max_sessions = 100000\nmax_sessions_per_user = 100000\n\
                  [profiles.demo]\ncredential = \"demo\"\nprogram = [\"true\"]";
    let daemon = Daemon::start_with(Rung::Local, config).await;
    let request = InviteRequest { uses: Some(10_000), ..InviteRequest::default() };
    let invite: Invite =
        daemon.client.json(Method::POST, "/api/v1/invites", Some(&request)).await.expect("an invite");
    let token = invite.url.rsplit('/').next().expect("a link ends in its token");
    let settings = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/schemathesis/schemathesis.toml");
    let run = tokio::process::Command::new(program())
        .args(["--config-file", settings, "run", &format!("{}/api/openapi.json", daemon.url)])
        .args(["--header", &format!("Authorization: Bearer {}", daemon.token)])
        .args(["--max-examples", "25", "--no-color"])
        .env("INVITE", token)
        .env("NO_PROXY", "*")
        .current_dir(daemon.dir())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect("Schemathesis runs; ./scripts/test installs it");
    let said = String::from_utf8_lossy(&run.stdout);
    let asked = said.lines().find(|line| line.trim_start().starts_with("Operations: "));
    assert!(run.status.success(), "{said}\n{}", String::from_utf8_lossy(&run.stderr));
    assert!(asked.is_some_and(|line| line.contains("selected")), "it found operations to ask: {said}");
    assert!(daemon.client.sessions(true).await.is_ok(), "and the daemon is well");
}
