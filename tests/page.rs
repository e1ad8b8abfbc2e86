//! The page against the real daemon, in a real browser: Playwright's `e2e.spec.ts`, with a shell in a
//! container at the other end.

mod common;

use std::{net::TcpListener, path::Path, time::Duration};

use common::{Daemon, Rung};

#[tokio::test]
async fn the_page_works_with_the_daemon_and_through_its_kill() {
    let config = "[profiles.sh]\ncredential = \"demo\"\nprogram = [\"bash\", \"--norc\"]";
    // A daemon that starts again must be found where the page knows it.
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let mut daemon = Daemon::start_at(Rung::Docker, &free.to_string(), config).await;
    let wish = daemon.dir().join("restart");
    let path = wish.display();
    let restart = format!("touch {path}; while [ -e {path} ]; do sleep 0.05; done");
    let run = tokio::process::Command::new("npx")
        .args(["playwright", "test", "e2e"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/web"))
        .env("SANDBOXCTL_E2E_URL", &daemon.url)
        .env("SANDBOXCTL_E2E_TOKEN", &daemon.token)
        .env("SANDBOXCTL_E2E_RESTART", restart)
        .output();
    let mut run = std::pin::pin!(run);
    let run = loop {
        tokio::select! {
            run = &mut run => break run.expect("npx runs; ./scripts/test installs it"),
            () = asked_for(&wish) => {
                daemon.kill();
                daemon.restart().await;
                std::fs::remove_file(&wish).expect("removed");
            }
        }
    };
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(
        run.status.success() && said.contains("2 passed, 0 failed, 0 skipped"),
        "{said}\n{}",
        daemon.log()
    );
}

async fn asked_for(wish: &Path) {
    while !wish.exists() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
