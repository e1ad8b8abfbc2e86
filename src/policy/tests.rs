use super::*;
use serde_json::{Value, json};

fn policy(commands: &[&str], paths: &[&str]) -> Policy {
    let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
    let spec =
        spec::Policy { deny_commands: own(commands), deny_paths: own(paths), ..spec::Policy::default() };
    Policy::new(&spec).expect("a policy")
}

fn decides(policy: &Policy, event: &str, input: &str) -> Decision {
    let input: &RawValue = serde_json::from_str(input).expect("JSON");
    policy.decide(&Question { event, input: Some(input), cwd: "/workspace/app" })
}

fn asks(policy: &Policy, _tool: &str, input: Value) -> Decision {
    decides(policy, "PreToolUse", &input.to_string())
}

fn is_denied(decision: &Decision) -> bool {
    matches!(decision, Decision::Deny { .. })
}

#[test]
fn a_denied_command_is_named_in_the_reason() {
    let decision = asks(&policy(&["git push"], &[]), "Bash", json!({ "command": "make && git push" }));
    let reason = "'git push' is not allowed in this session".to_owned();
    assert_eq!(decision, Decision::Deny { reason });
}

#[test]
fn without_denied_commands_no_line_is_even_read() {
    let open = policy(&[], &["**/.env"]);
    assert_eq!(asks(&open, "Bash", json!({ "command": "if then ((" })), Decision::Allow);
    assert_eq!(asks(&open, "Bash", json!({ "command": 7 })), Decision::Allow);
}

#[test]
fn a_command_that_is_no_text_is_denied() {
    assert!(is_denied(&asks(&policy(&["curl"], &[]), "Bash", json!({ "command": ["curl", "x"] }))));
}

#[test]
fn paths_are_matched_however_they_are_written() {
    let closed = policy(&[], &["**/.env", "secrets/**", "/etc/**", "**/*.pem"]);
    let denied = [
        ("file_path", "/workspace/app/.env"),
        ("file_path", "/.env"),
        ("file_path", ".env"),
        ("file_path", "./src/../.env"),
        ("file_path", "src//.env"),
        ("file_path", "../../etc/passwd"),
        ("path", "/etc"),
        ("path", "/etc/"),
        ("path", "secrets"),
        ("path", "/workspace/app/secrets/deep/down.txt"),
        ("file_path", "/tmp/../../../etc/shadow"),
        ("notebook_path", "/home/u/key.pem"),
    ];
    for (key, path) in denied {
        assert!(is_denied(&asks(&closed, "Read", json!({ key: path }))), "{key} {path}");
    }
    let allowed = [
        ("file_path", "/workspace/app/.env.example"),
        ("file_path", "/workspace/secrets/x"),
        ("file_path", "src/etc/x"),
        ("path", "/workspace/app"),
        ("path", "."),
        ("old_string", "/etc/passwd"),
        ("content", ".env"),
    ];
    for (key, path) in allowed {
        assert_eq!(asks(&closed, "Edit", json!({ key: path })), Decision::Allow, "{key} {path}");
    }
}

#[test]
fn only_a_tool_that_is_about_to_run_can_be_denied() {
    let closed = policy(&["curl"], &["/**"]);
    let input = r#"{ "command": "curl x", "file_path": "/a" }"#;
    for event in ["PostToolUse", "UserPromptSubmit", "Stop", "SessionStart", ""] {
        assert_eq!(decides(&closed, event, input), Decision::Allow, "{event}");
    }
    for event in ["PreToolUse", "PermissionRequest"] {
        assert!(is_denied(&decides(&closed, event, input)), "{event}");
    }
    let nothing = Question { event: "PreToolUse", input: None, cwd: "/" };
    assert_eq!(closed.decide(&nothing), Decision::Allow);
    assert_eq!(decides(&closed, "PreToolUse", "{}"), Decision::Allow);
}

#[test]
fn what_can_be_read_in_two_ways_is_denied() {
    let closed = policy(&["curl"], &["**/.env"]);
    for input in [
        r#"{"command":"true","command":"curl x"}"#,
        r#"{"file_path":"a","f\u0069le_path":".env"}"#,
        r#"{"c\u006fmmand":"curl x"}"#,
        r#"{"command":"curl \ud800"}"#,
        r#"{"path":"\ud800/.env"}"#,
    ] {
        assert!(is_denied(&decides(&closed, "PreToolUse", input)), "{input}");
    }
    let passed_over = r#"{"content":"x","content":[[]],"command":"true"}"#;
    assert_eq!(decides(&closed, "PreToolUse", passed_over), Decision::Allow);
}

#[test]
fn a_policy_that_means_nothing_is_refused() {
    let with = |commands: &[&str], paths: &[&str]| {
        let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        Policy::new(&spec::Policy {
            deny_commands: own(commands),
            deny_paths: own(paths),
            ..spec::Policy::default()
        })
    };
    assert!(matches!(with(&["  "], &[]), Err(PolicyError::Command)));
    let Err(error) = with(&[], &["a[b"]) else { panic!("an open bracket is no glob") };
    assert!(error.to_string().starts_with("deny_paths: 'a[b' is no glob"), "{error}");
}
