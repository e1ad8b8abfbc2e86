//! The configuration outside the file: the environment, and what only shows when the daemon starts.

use std::{
    net::TcpListener,
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::Path,
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use sandboxctl::api::{Check, CheckState};
use tempfile::TempDir;

use crate::common::{Daemon, PATIENCE, Rung, Setup};

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sandboxctl"));
    command.env_remove("SANDBOXCTL_URL").env_remove("SANDBOXCTL_TOKEN");
    command
}

/// Runs what must end by itself, and soon.
fn ended(mut command: Command) -> Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("it runs");
    let began = Instant::now();
    while child.try_wait().expect("it can be asked").is_none() {
        if began.elapsed() > PATIENCE {
            child.kill().expect("it can be killed");
            let out = child.wait_with_output().expect("it has ended");
            panic!("it starts in spite of it:\n{}", String::from_utf8_lossy(&out.stderr));
        }
        thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().expect("it has ended")
}

fn write(path: &Path, text: &str, mode: u32) {
    std::fs::write(path, text).expect("written");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("set");
}

#[test]
fn what_the_environment_sets_wrongly_is_told_by_the_variables_name() {
    for (variable, value, key, remedy) in [
        ("SANDBOXCTL__MAX_SESSIONS", "many", "max_sessions", "give a whole number"),
        ("SANDBOXCTL__MAX_SESSIONS", "0", "max_sessions", "give 1 or more"),
        ("SANDBOXCTL__LISTEN", "7070", "listen", "127.0.0.1:7070"),
        ("SANDBOXCTL__LISEN", "127.0.0.1:1", "lisen", "is listen meant?"),
        ("SANDBOXCTL__PROFILES__DEMO__TTL", "soon", "profiles.demo.ttl", "2h"),
        ("SANDBOXCTL__PROFILES__DEMO__TLL", "2h", "profiles.demo.tll", "is ttl meant?"),
        ("SANDBOXCTL__PROFILES__DEMO__LIMITS__MEMORY", "much", "profiles.demo.limits.memory", "512 MiB"),
        ("SANDBOXCTL__PROFILES__DEMO__LIMITS", "5", "profiles.demo.limits", "section"),
        ("SANDBOXCTL__DETACH_KEY", "5", "detach_key", "text in quotes"),
        ("SANDBOXCTL__DEFAULT_PROFILE", "none", "default_profile", "demo"),
    ] {
        let mut list = command();
        list.args(["list"]).env(variable, value);
        let out = ended(list);
        let said = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(1), "{variable}={value}: {said}");
        for part in [format!("configuration key {key} (set by {variable})"), remedy.to_owned()] {
            assert!(said.contains(&part), "{variable}={value}: {said}");
        }
    }
}

#[test]
fn a_configuration_that_is_wrong_is_told_with_its_file_and_a_code() {
    let dir = TempDir::new().expect("a folder");
    let path = dir.path().join("config.toml");
    write(&path, "[profiles.demo]\nttl = \"soon\"", 0o600);
    for (verb, code) in [("list", 1), ("doctor", 1), ("serve", 6)] {
        let mut wrong = command();
        wrong.arg("--config").arg(&path).arg(verb);
        let out = ended(wrong);
        let said = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(code), "{verb}: {said}");
        let expected = format!("configuration key profiles.demo.ttl (in {})", path.display());
        assert!(said.contains(&expected) && said.matches("profiles.demo.ttl").count() == 1, "{verb}: {said}");
    }
}

#[tokio::test]
async fn what_only_shows_at_the_start_is_told_then_by_its_key() {
    let running = Daemon::start(Rung::Local).await;
    let dir = tempfile::Builder::new().prefix("in").tempdir().expect("a folder");
    let at = |name: &str| dir.path().join(name).display().to_string();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let _listening = UnixListener::bind(dir.path().join("theirs.sock")).expect("a socket");
    write(&dir.path().join("file"), "precious", 0o600);
    write(&dir.path().join("open"), "sk-ant-x", 0o644);
    write(&dir.path().join("headers"), "no header", 0o600);
    let usual = |without: &str| -> String {
        [
            ("listen", "listen = \"127.0.0.1:0\"".to_owned()),
            ("engine", "engine = \"local\"".to_owned()),
            ("state_dir", format!("state_dir = \"{}\"", at("s"))),
            ("admin_socket", format!("admin_socket = \"{}\"", at("a.sock"))),
            ("guest", format!("guest = \"{}\"", at("file"))),
        ]
        .into_iter()
        .filter(|(key, _)| *key != without)
        .map(|(_, line)| line + "\n")
        .collect()
    };
    for (without, lines, key, remedy) in [
        ("listen", format!("listen = \"{}\"", taken.local_addr().expect("one")), "listen", "another address"),
        ("listen", "listen = \"0.0.0.0:0\"".to_owned(), "listen", "--behind-proxy"),
        (
            "listen",
            "listen = \"192.0.2.1:7070\"\n[tls]\ncert = \"/no\"\nkey = \"/no\"".to_owned(),
            "tls.cert",
            "PEM",
        ),
        ("", format!("[tls]\ncert = \"{}\"\nkey = \"/no\"", at("file")), "tls.key", "PEM"),
        ("", format!("[tls]\ncert = \"{0}\"\nkey = \"{0}\"", at("file")), "tls.cert and tls.key", "PEM"),
        ("state_dir", format!("state_dir = \"{}\"", at("file/s")), "state_dir", "can be made"),
        ("state_dir", format!("state_dir = \"{}\"", running.state().display()), "state_dir", "stop it"),
        ("admin_socket", format!("admin_socket = \"{}\"", at("file")), "admin_socket", "another place"),
        (
            "admin_socket",
            format!("admin_socket = \"{}\"", at("file/a.sock")),
            "admin_socket",
            "another place",
        ),
        (
            "admin_socket",
            format!("admin_socket = \"{}\"", at("theirs.sock")),
            "admin_socket",
            "another daemon",
        ),
        ("", "admin_group = \"no-such-group\"".to_owned(), "admin_group", "no such group"),
        ("guest", format!("guest = \"{}\"", at("nothing")), "guest", "install it"),
        (
            "engine",
            format!("engine = \"docker\"\n[docker]\nsocket = \"{}\"", at("nothing")),
            "docker.socket",
            "start it",
        ),
        ("", format!("[model]\nkey_file = \"{}\"", at("nothing")), "model.key_file", "No such file"),
        ("", format!("[model]\nkey_file = \"{}\"", at("open")), "model.key_file", "chmod 600"),
        (
            "",
            format!("[forward.t]\nendpoint = \"http://127.0.0.1:1\"\nheaders_file = \"{}\"", at("nothing")),
            "forward.t.headers_file",
            "No such file",
        ),
        (
            "",
            format!("[forward.t]\nendpoint = \"http://127.0.0.1:1\"\nheaders_file = \"{}\"", at("headers")),
            "forward.t.headers_file",
            "`Name: value`",
        ),
        ("", "[profiles.x]\negress = [\"10.0.0.1:443\"]".to_owned(), "profiles.x.egress", "private:"),
        (
            "",
            "[profiles.x.policy]\ndeny_paths = [\"[\"]".to_owned(),
            "profiles.x.policy.deny_paths",
            "no glob",
        ),
        (
            "",
            "[profiles.x.env]\nOTEL_SDK_DISABLED = \"1\"".to_owned(),
            "profiles.x.env.OTEL_SDK_DISABLED",
            "leave it out",
        ),
    ] {
        let path = dir.path().join("config.toml");
        write(&path, &(usual(without) + &lines), 0o600);
        let mut serve = command();
        serve.arg("--config").arg(&path).arg("serve");
        let out = ended(serve);
        let said = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(6), "{lines}: {said}");
        let said = said.lines().find(|line| line.contains("cannot start")).unwrap_or_default();
        assert!(said.contains(key) && said.contains(remedy), "{lines}: {said}");
    }
    assert_eq!(
        std::fs::read_to_string(at("file")).expect("it is there"),
        "precious",
        "nothing is in the way"
    );
    assert!(running.client.sessions(true).await.is_ok(), "who runs goes on");
}

#[tokio::test]
async fn the_doctor_names_what_a_profile_asks_for_and_the_engine_has_not() {
    let config = "[profiles.strict]\nruntime = \"nonsuch\"\n[profiles.odd]\nimage = \"no/such:image\"";
    let setup = Setup { rung: Rung::Docker, config, ..Setup::default() };
    let daemon = Daemon::start_up(setup).await;
    let out = daemon.cli(&["doctor", "--no-session", "--json"]).output().expect("it runs");
    assert_eq!(out.status.code(), Some(1));
    let checks: Vec<Check> = serde_json::from_slice(&out.stdout).expect("checks");
    for (name, found, remedy) in [
        ("runtime", "profile strict asks for nonsuch", "register it"),
        ("image", "no/such:image", "docker pull"),
    ] {
        let check = checks.iter().find(|c| c.name == name && c.found.contains(found));
        let check = check.unwrap_or_else(|| panic!("{found}: {checks:#?}"));
        assert_eq!(check.state, CheckState::Failed);
        assert!(check.remedy.as_ref().is_some_and(|r| r.contains(remedy)), "{check:?}");
    }
}
