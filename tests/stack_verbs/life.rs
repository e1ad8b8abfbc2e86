//! Stories of a stack's life.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use portable_pty::{CommandBuilder, PtySize, native_pty_system};
use serde_json::Value;

use crate::stack::{COMPOSE, Stack, docker, said};

fn states(near: &str, far: &str) -> Vec<(String, String)> {
    [("far", far), ("near", near)].map(|(a, b)| (a.to_owned(), b.to_owned())).to_vec()
}

#[test]
fn it_goes_up_falls_and_comes_back_with_its_data_wherever_that_is_restored() {
    let stack = Stack::new();
    let up: Value = serde_json::from_str(&stack.good(&["up", "--json"])).expect("JSON");
    assert_eq!((&up["well"], &up["kept"][0]), (&Value::Bool(true), &Value::from("compose.yaml")));
    assert_eq!(up["parts"].as_array().map(Vec::len), Some(2));
    let env = stack.folder().join(".env");
    let settings = fs::read_to_string(&env).expect("settings");
    assert_eq!(fs::metadata(&env).expect("there").permissions().mode() & 0o777, 0o600);
    let password =
        settings.lines().find_map(|l| l.strip_prefix("GRAFANA_ADMIN_PASSWORD=")).expect("a password");
    assert_eq!(password.len(), 32);

    // Again: nothing happens, and the password is nobody's to read.
    let before = docker(&["inspect", "-f", "{{.Id}} {{.State.StartedAt}}", &stack.container("near")]);
    let again = stack.run(&["up"]);
    assert!(again.status.success() && !said(&again).contains(password), "{}", said(&again));
    assert_eq!(docker(&["inspect", "-f", "{{.Id}} {{.State.StartedAt}}", &stack.container("near")]), before);
    assert!(said(&again).contains(&format!("127.0.0.1:{}", stack.port)));

    // A part whose files were new when it could not be started again is started again later, by an `up` for it.
    let record = stack.folder().join(".laid-out.json");
    let mut laid: Value = serde_json::from_slice(&fs::read(&record).expect("a record")).expect("JSON");
    laid["pending"] = Value::from(vec!["near"]);
    fs::write(&record, laid.to_string()).expect("written");
    let began = || docker(&["inspect", "-f", "{{.State.StartedAt}}", &stack.container("near")]);
    let before = began();
    stack.good(&["up", "far"]);
    assert_eq!(began(), before);
    stack.good(&["up"]);
    let after = began();
    assert_ne!(after, before);
    stack.good(&["up"]);
    assert_eq!(began(), after, "once is enough");

    stack.inside(
        "near",
        "mkdir -m 750 /data/d && echo kept > /data/d/file && chown -R 1234:4321 /data/d && ln -s d /data/l",
    );
    stack.inside("far", "echo far > /data/file");
    let look = "stat -c '%a %u %g' /data/d /data/d/file && cat /data/l/file";
    let held = "750 1234 4321\n644 1234 4321\nkept";
    assert_eq!(stack.inside("near", look), held);

    // A part that is killed is told, and restart brings it back.
    docker(&["kill", &stack.container("near")]);
    assert_eq!(stack.states(), states("ended", "healthy"));
    assert!(stack.good(&["status"]).contains("ended, code 137"));
    stack.good(&["restart", "near"]);
    assert_eq!(stack.states(), states("healthy", "healthy"));
    let again: Value = serde_json::from_str(&stack.good(&["restart", "--json"])).expect("JSON");
    assert_eq!(again["parts"].as_array().map(Vec::len), Some(2), "the step that ended is no part: {again}");
    assert!(stack.good(&["logs", "near", "--tail", "5"]).contains("GET / HTTP/1.1"));

    // The archive is nobody else's to read, and no file is overwritten.
    let archive = stack.dir.path().join("stack.tar.gz");
    let file = archive.to_str().expect("UTF-8");
    let said_by_backup = stack.good(&["backup", file]);
    assert!(said_by_backup.contains("keep it safe"), "{said_by_backup}");
    assert_eq!(fs::metadata(&archive).expect("there").permissions().mode() & 0o777, 0o600);
    assert_eq!(stack.states(), states("healthy", "healthy"), "it runs again");
    let twice = stack.run(&["backup", file]);
    assert_eq!(twice.status.code(), Some(2), "{}", said(&twice));

    let inside = stack.run(&["backup", stack.folder().join("x.tar.gz").to_str().expect("UTF-8")]);
    assert_eq!(inside.status.code(), Some(2), "{}", said(&inside));
    assert!(said(&inside).contains("outside of"), "{}", said(&inside));

    // Nothing is removed without somebody's word.
    let unsure = stack.run(&["reset"]);
    assert_eq!(unsure.status.code(), Some(2), "{}", said(&unsure));
    assert!(said(&unsure).contains("--yes"));
    assert_eq!(stack.states(), states("healthy", "healthy"));
    stack.good(&["reset", "--yes"]);
    assert_eq!(stack.volumes(), Vec::<String>::new());

    // A damaged archive touches nothing.
    stack.good(&["up"]);
    stack.inside("far", "echo new > /data/file");
    let damaged = stack.dir.path().join("damaged.tar.gz");
    let bytes = fs::read(&archive).expect("the archive");
    fs::write(&damaged, &bytes[..bytes.len() - 9]).expect("written");
    let refused = stack.run(&["restore", damaged.to_str().expect("UTF-8"), "--yes"]);
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    assert!(said(&refused).contains("not whole"), "{}", said(&refused));
    assert_eq!(stack.inside("far", "cat /data/file"), "new");
    let unsure = stack.run(&["restore", file]);
    assert_eq!(unsure.status.code(), Some(2), "what is there is asked about: {}", said(&unsure));

    // A new machine has neither the folder nor the volumes.
    stack.good(&["reset", "--yes"]);
    fs::remove_dir_all(stack.folder()).expect("gone");
    stack.good(&["restore", file]);
    assert_eq!(fs::read_to_string(&env).expect("settings"), settings);
    assert_eq!(fs::metadata(&env).expect("there").permissions().mode() & 0o777, 0o600);
    stack.good(&["up"]);
    assert_eq!(stack.inside("near", look), held);
    assert_eq!(stack.inside("far", "cat /data/file"), "far");

    // Over a stack that runs: it runs again and is well, with the archive's data. A backend that does not run is not
    // sent to.
    stack.inside("far", "echo newer > /data/file; echo more > /data/more");
    let log = stack.dir.path().join("log");
    let told = format!("echo \"$* | $STACK_TRACES_TO\" >> {}", log.display());
    let mut restore = stack.verb(&["restore", file, "--yes"]);
    let restored = restore.env(COMPOSE, stack.compose_behind(&told)).output().expect("sandboxctl runs");
    assert!(restored.status.success(), "{}", said(&restored));
    assert_eq!(stack.states(), states("healthy", "healthy"));
    let log = fs::read_to_string(log).expect("it was written");
    let up = log.lines().find(|line| line.contains(" up --detach ")).expect("it was started");
    assert!(up.ends_with("| [file/traces]"), "{up}");
    assert_eq!(stack.inside("far", "ls /data && cat /data/file"), "file\nfar");

    stack.good(&["down"]);
    assert_eq!(stack.states(), states("absent", "absent"));
    assert_eq!(stack.volumes().len(), 2, "the data stays");
    stack.good(&["up", "near"]);
    assert_eq!(stack.inside("near", look), held);
    assert_eq!(stack.states(), states("healthy", "absent"), "one part is enough");
    let archive = stack.dir.path().join("one.tar.gz");
    stack.good(&["backup", archive.to_str().expect("UTF-8")]);
    assert_eq!(stack.states(), states("healthy", "absent"), "who did not run is not started");
}

#[test]
fn files_are_the_containers_to_read_whatever_the_umask_is() {
    let stack = Stack::new();
    let (up, mut masked) = (stack.verb(&["up"]), Command::new("sh"));
    masked.args(["-c", "umask 077 && exec \"$0\" \"$@\""]).arg(up.get_program()).args(up.get_args());
    masked.envs(up.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let up = masked.output().expect("sh runs");
    assert!(up.status.success(), "{}", said(&up));
    let mode =
        |name: &str| fs::metadata(stack.folder().join(name)).expect("there").permissions().mode() & 0o777;
    for folder in ["loki", "grafana", "grafana/provisioning/datasources"] {
        assert_eq!(mode(folder), 0o755, "{folder}");
    }
    assert_eq!((mode("loki/config.yaml"), mode(".env")), (0o644, 0o600));
}

#[test]
fn a_part_that_ends_is_told_with_what_it_said() {
    let stack = Stack::running(r#"["sh", "-c", "echo the disk is on fire; sleep 1; exit 3"]"#);
    let up = stack.run(&["up", "--json"]);
    let told = said(&up);
    assert_eq!(up.status.code(), Some(1), "{told}");
    for expected in ["far: it end", "the disk is on fire", "stack logs far"] {
        assert!(told.contains(expected), "{expected}: {told}");
    }
    let report: Value = serde_json::from_slice(&up.stdout).expect("JSON");
    assert_eq!(report["well"], false);
}

#[test]
fn a_port_that_somebody_has_is_told_before_anything_starts() {
    let stack = Stack::new();
    let held = TcpListener::bind(("127.0.0.1", stack.port)).expect("the port");
    let up = stack.run(&["up"]);
    let told = said(&up);
    assert_eq!(up.status.code(), Some(1), "{told}");
    assert!(told.contains(&format!("127.0.0.1:{} of near is taken by stack_verbs", stack.port)), "{told}");
    assert!(told.contains("STACK_PORT_"), "{told}");
    assert_eq!(stack.states(), states("absent", "absent"));
    drop(held);
    stack.good(&["up"]);
}

#[test]
fn a_backup_that_is_interrupted_leaves_no_file_and_a_stack_that_runs() {
    let stack = Stack::new();
    stack.good(&["up"]);
    stack.inside("far", "head -c 400000000 /dev/urandom > /data/noise");
    let archive = stack.dir.path().join("stack.tar.gz");
    let mut backup = stack
        .verb(&["backup", archive.to_str().expect("UTF-8")])
        .stderr(Stdio::piped())
        .spawn()
        .expect("sandboxctl runs");
    let mut lines = BufReader::new(backup.stderr.take().expect("it was piped")).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.starts_with("writing the backup")), "it stops the parts, then writes");
    kill(Pid::from_raw(backup.id().cast_signed()), Signal::SIGINT).expect("it can be asked");
    let rest: Vec<String> = lines.collect();
    assert_eq!(backup.wait().expect("it ends").code(), Some(1), "{rest:?}");
    assert!(rest.iter().any(|line| line.contains("interrupted")), "{rest:?}");
    let left: Vec<_> =
        fs::read_dir(stack.dir.path()).expect("a folder").flatten().map(|e| e.file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("tar.gz")), "{left:?}");
    assert_eq!(stack.states(), states("healthy", "healthy"));
}

#[test]
fn a_terminal_that_is_closed_during_a_backup_leaves_a_stack_that_runs() {
    let stack = Stack::new();
    stack.good(&["up"]);
    stack.inside("far", "head -c 400000000 /dev/urandom > /data/noise");
    let terminal = native_pty_system().openpty(PtySize::default()).expect("a terminal");
    let archive = stack.dir.path().join("stack.tar.gz");
    let verb = stack.verb(&["backup", archive.to_str().expect("UTF-8")]);
    let mut command = CommandBuilder::new(verb.get_program());
    command.args(verb.get_args());
    for (name, value) in verb.get_envs() {
        command.env(name, value.expect("set"));
    }
    let mut backup = terminal.slave.spawn_command(command).expect("sandboxctl runs");
    let mut shown = Vec::new();
    let mut reader = terminal.master.try_clone_reader().expect("a reader");
    while !String::from_utf8_lossy(&shown).contains("writing the backup") {
        let mut some = [0; 4096];
        let read = reader.read(&mut some).expect("it is open");
        shown.extend_from_slice(&some[..read]);
    }
    drop((terminal, reader));
    backup.wait().expect("it ends");
    assert_eq!(stack.states(), states("healthy", "healthy"));
    assert!(!archive.exists(), "it was interrupted");
}

#[test]
fn a_restore_that_cannot_be_finished_leaves_the_old_data_or_none() {
    let stack = Stack::new();
    stack.good(&["up"]);
    stack.inside("far", "head -c 400000000 /dev/zero > /data/noise; echo old > /data/file");
    let archive = stack.dir.path().join("stack.tar.gz");
    let file = archive.to_str().expect("UTF-8");
    stack.good(&["backup", file]);
    stack.inside("far", "echo new > /data/file");

    let no_images = r#"case " $* " in *" create "*) echo "pull access denied" >&2; exit 1;; esac"#;
    let mut restore = stack.verb(&["restore", file, "--yes"]);
    let refused = restore.env(COMPOSE, stack.compose_behind(no_images)).output().expect("sandboxctl runs");
    let told = said(&refused);
    assert_eq!(refused.status.code(), Some(1), "{told}");
    assert!(told.contains("the old data is still there") && told.contains("STACK_IMAGE_"), "{told}");
    assert_eq!(stack.inside("far", "cat /data/file"), "new");

    let mut restore =
        stack.verb(&["restore", file, "--yes"]).stderr(Stdio::piped()).spawn().expect("sandboxctl runs");
    let mut lines =
        BufReader::new(restore.stderr.take().expect("it was piped")).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.starts_with("bringing the data back")), "it removes, then brings");
    kill(Pid::from_raw(restore.id().cast_signed()), Signal::SIGTERM).expect("it can be asked");
    let rest: Vec<String> = lines.collect();
    assert_eq!(restore.wait().expect("it ends").code(), Some(1), "{rest:?}");
    let told = |words| rest.iter().any(|line| line.contains(words));
    assert!(told("the old data is gone") && told("run the restore again") && told("interrupted"), "{rest:?}");
    assert_eq!(stack.volumes(), Vec::<String>::new(), "half of the data would pass for all of it");

    // Before 2.24.7, `create` has no such flag.
    let older = r#"case " $* " in *" create "*--quiet-pull*) echo "unknown flag" >&2; exit 16;; esac"#;
    let mut restore = stack.verb(&["restore", file, "--yes"]);
    let restored = restore.env(COMPOSE, stack.compose_behind(older)).output().expect("sandboxctl runs");
    assert!(restored.status.success(), "{}", said(&restored));
    stack.good(&["up"]);
    assert_eq!(stack.inside("far", "cat /data/file"), "old");
}

#[test]
fn what_cannot_be_done_is_said_with_what_to_do() {
    let stack = Stack::new();
    let told = |args: &[&str], code: i32, expected: &str| {
        let output = stack.run(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", said(&output));
        assert!(said(&output).contains(expected), "{args:?}: {}", said(&output));
    };
    told(&["up", "graffana"], 2, "its parts are far, near");
    told(&["restart"], 1, "no part was started yet");
    told(&["logs", "other"], 2, "no part 'other'");
    told(&["backup", "/nowhere/at/all.tar.gz"], 2, "name a file");
    told(&["restore", "/nowhere/at/all.tar.gz"], 2, "stack backup");
    fs::write(stack.dir.path().join("x"), "no archive").expect("written");
    told(&["restore", stack.dir.path().join("x").to_str().expect("UTF-8")], 1, "no backup of a stack");
    told(&["up", "--wait", "0s"], 2, "1s or more");
    let other = |args: &[&str], name: &str, value: &str, expected: &str| {
        let output = stack.verb(args).env(name, value).output().expect("sandboxctl runs");
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains(expected), "{}", said(&output));
    };
    other(&["up"], COMPOSE, "/nowhere/compose", "SANDBOXCTL_COMPOSE names /nowhere/compose");
    other(&["up"], COMPOSE, "/bin/true", "does not answer as Docker Compose");
    other(&["down"], "SANDBOXCTL__DOCKER__SOCKET", "/nowhere/docker.sock", "start the engine");
    let empty = stack.verb(&["up"]).env_remove(COMPOSE).env("PATH", "/nowhere").output();
    let empty = said(&empty.expect("sandboxctl runs"));
    assert!(empty.contains("Docker Compose is not installed"), "{empty}");
    // A stack that is not there, and a daemon that is not there either.
    let nothing = stack.verb(&["status", "--dir", "/nowhere"]).output().expect("sandboxctl runs");
    assert_eq!(nothing.status.code(), Some(1));
    assert!(said(&nothing).contains("there is no stack in /nowhere") && said(&nothing).contains("no daemon"));
    let nothing = stack.verb(&["down", "--dir", "/nowhere"]).output().expect("sandboxctl runs");
    assert_eq!(nothing.status.code(), Some(2), "{}", said(&nothing));
}
