//! The others: what they are called with, and whether they are here.

use std::{
    env,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context;
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest, http::HeaderValue};

use super::{Options, report::per_second};

/// `docker run` of the same image and program, with a terminal and no network.
pub fn docker_run(options: &Options, program: &[&str]) -> Vec<String> {
    let mut argv = vec!["docker", "run", "--rm", "-it", "--network", "none"];
    if let Some(runtime) = &options.runtime {
        argv.extend(["--runtime", runtime]);
    }
    argv.push(&options.image);
    argv.extend(program);
    argv.into_iter().map(str::to_owned).collect()
}

/// A peer's binary, if `scripts/bench` has put it where it says, or the machine has it.
pub fn binary(name: &str) -> Option<PathBuf> {
    let given = env::var_os("SANDBOXCTL_PEERS").map(|dir| PathBuf::from(dir).join(name));
    let paths = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&paths).map(|dir| dir.join(name)).find(|p| p.is_file());
    given.filter(|p| p.is_file()).or(on_path)
}

/// MB/s of a program behind ttyd, as one viewer sees it. ttyd's protocol: the subprotocol `tty`, a first
/// message with the size, and output in messages that begin with `0`.
pub async fn ttyd(ttyd: &Path, line: &str) -> anyhow::Result<f64> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut server = Command::new(ttyd)
        .args(["--interface", "127.0.0.1", "--port", &port.to_string(), "--once", "sh", "-c", line])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let rate = watch(port).await;
    server.kill().ok();
    server.wait()?;
    rate
}

async fn watch(port: u16) -> anyhow::Result<f64> {
    let mut tries = 0;
    let (mut terminal, _) = loop {
        let mut request = format!("ws://127.0.0.1:{port}/ws").into_client_request()?;
        request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("tty"));
        match tokio_tungstenite::connect_async(request).await {
            Ok(connected) => break connected,
            Err(error) if tries == 50 => return Err(error.into()),
            Err(_) => tries += 1,
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let hello = r#"{"AuthToken":"","columns":80,"rows":24}"#;
    terminal.send(Message::Binary(hello.as_bytes().to_vec().into())).await?;
    let (mut tail, mut bytes, mut began): (Vec<u8>, u64, Option<Instant>) = (Vec::new(), 0, None);
    loop {
        let Message::Binary(message) = terminal.next().await.context("ttyd hung up")?? else { continue };
        let Some((b'0', output)) = message.split_first() else { continue };
        bytes += output.len() as u64;
        tail.extend_from_slice(output);
        if began.is_none() && memchr::memmem::find(&tail, b"GO\r\n").is_some() {
            (began, bytes) = (Some(Instant::now()), 0);
        }
        if let Some(began) = began
            && memchr::memmem::find(&tail, b"DONE\r\n").is_some()
        {
            return Ok(per_second(bytes, began, Instant::now()));
        }
        let keep = tail.len().min(8);
        tail.drain(..tail.len() - keep);
    }
}
