//! The page against the real daemon, in a real browser: Playwright's `e2e.spec.ts`, with a shell in a
//! container at the other end.

mod common;

use common::{Daemon, Rung};

#[tokio::test]
async fn the_page_and_the_daemon_speak_the_same_protocol() {
    let config = "[profiles.sh]\ncredential = \"demo\"\nprogram = [\"bash\", \"--norc\"]";
    let daemon = Daemon::start_with(Rung::Docker, config).await;
    let run = tokio::process::Command::new("npx")
        .args(["playwright", "test", "e2e"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/web"))
        .env("SANDBOXCTL_E2E_URL", &daemon.url)
        .env("SANDBOXCTL_E2E_TOKEN", &daemon.token)
        .output()
        .await
        .expect("npx runs; ./scripts/test installs it");
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(
        run.status.success() && said.contains("1 passed, 0 failed, 0 skipped"),
        "{said}\n{}",
        daemon.log()
    );
}
