use super::*;
use crate::spec::{Profile, User};

fn spec(credential: Credential) -> Spec {
    Spec {
        user: User { name: "Ada, Countess".to_owned(), email: "ada@example.org".to_owned() },
        team: None,
        profile_name: "p".to_owned(),
        profile: Profile { credential, ..Profile::default() },
        workspace: None,
        own_key: false,
        cols: 80,
        rows: 24,
    }
}

fn inject(spec: &Spec, key: Option<&str>) -> Injection {
    injection(spec, SessionId::new(), &BTreeMap::new(), key, &BTreeMap::new())
}

fn env<'a>(injection: &'a Injection, name: &str) -> Option<&'a str> {
    injection.start.env.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str())
}

fn file<'a>(injection: &'a Injection, end: &str) -> &'a File {
    injection.start.files.iter().find(|f| f.path.ends_with(end)).expect("a file of this name")
}

#[test]
fn claude_gets_the_sessions_id_unless_it_takes_up_another() {
    let id = SessionId::new();
    let argv = |line: &str| argv(&line.split(' ').map(str::to_owned).collect::<Vec<_>>(), id).join(" ");
    assert_eq!(argv("claude -p hi"), format!("claude --session-id {id} -p hi"));
    assert_eq!(argv("/usr/bin/claude"), format!("/usr/bin/claude --session-id {id}"));
    for other in [
        "claude --resume x",
        "claude -c",
        "claude --session-id=x",
        "claude --version",
        "claude mcp list",
        "bash -l",
    ] {
        assert_eq!(argv(other), other);
    }
}

#[test]
fn neither_image_nor_profile_can_switch_telemetry_off() {
    let mut spec = spec(Credential::Demo);
    let mut image = BTreeMap::new();
    for name in settings::telemetry(&spec, SessionId::new()).into_keys() {
        spec.profile.env.insert(name.clone(), "0".to_owned());
        image.insert(name, "none".to_owned());
    }
    let id = SessionId::new();
    let injection = injection(&spec, id, &BTreeMap::new(), None, &image);
    for (name, value) in settings::telemetry(&spec, id) {
        assert_eq!(env(&injection, &name), Some(value.as_str()), "{name}");
    }
    let settings: Value =
        serde_json::from_str(&file(&injection, "managed-settings.json").content).expect("JSON");
    assert_eq!(settings["env"]["OTEL_EXPORTER_OTLP_ENDPOINT"], "http://127.0.0.1:4318");
    assert_eq!(settings["allowManagedHooksOnly"], true);
    assert_eq!(file(&injection, "managed-settings.json").owner, Owner::Root);
}

/// What the client reads as its policy, whole: a change of it is to be seen and meant.
#[test]
fn managed_settings_are_these() {
    let mut spec = spec(Credential::Gateway);
    spec.profile.policy.mode = "acceptEdits".to_owned();
    spec.profile.policy.allow = vec!["Bash(git status)".to_owned()];
    spec.profile.policy.deny = vec!["Read(./.env)".to_owned()];
    let id = "01890000-0000-7000-8000-000000000001".parse().expect("an id");
    let injection = injection(&spec, id, &BTreeMap::new(), None, &BTreeMap::new());
    let content: Value =
        serde_json::from_str(&file(&injection, "managed-settings.json").content).expect("JSON");
    insta::assert_json_snapshot!(content);
}

proptest::proptest! {
    /// Whatever a profile and an image set, what telemetry's variables are is ours alone.
    #[test]
    fn no_environment_reaches_telemetry(
        family in 0..4_usize,
        name in "[A-Z_]{1,24}",
        known in 0..60_usize,
        value in ".{0,20}",
    ) {
        let mut spec = spec(Credential::Demo);
        let id = SessionId::new();
        let ours = settings::telemetry(&spec, id);
        let names: Vec<&String> = ours.keys().collect();
        let name = match family {
            0 => names[known % names.len()].clone(),
            1 => format!("OTEL_{name}"),
            2 => format!("CLAUDE_CODE_OTEL_{name}"),
            _ => format!("BETA_TRACING_{name}"),
        };
        spec.profile.env.insert(name.clone(), value.clone());
        let image = BTreeMap::from([(name, value)]);
        let injection = injection(&spec, id, &BTreeMap::new(), None, &image);
        let set: BTreeMap<String, String> = injection.start.env.into_iter().collect();
        let telling: BTreeMap<String, String> = set
            .into_iter()
            .filter(|(name, _)| settings::is_telemetry(name) || ours.contains_key(name))
            .collect();
        proptest::prop_assert_eq!(telling, ours);
    }
}

#[test]
fn secrets_by_their_name_are_in_no_record() {
    let mut spec = spec(Credential::Demo);
    for name in ["GITHUB_TOKEN", "DB_PASSWORD", "PGPASSWD", "SIGNING_KEY", "GITLAB_PAT", "SESSION_COOKIE"] {
        spec.profile.env.insert(name.to_owned(), "of-great-worth".to_owned());
    }
    spec.profile.env.insert("EDITOR".to_owned(), "nano".to_owned());
    let masked = inject(&spec, None).masked.to_string();
    assert!(!masked.contains("of-great-worth"), "{masked}");
    assert!(masked.contains("nano"), "what is no secret can be read");
}

#[test]
fn resource_attributes_survive_commas_and_spaces() {
    let injection = inject(&spec(Credential::Demo), None);
    let attributes = env(&injection, "OTEL_RESOURCE_ATTRIBUTES").expect("set");
    assert!(attributes.contains("user.name=Ada%2C%20Countess,user.email=ada@example.org"), "{attributes}");
}

#[test]
fn the_operators_modes_give_a_token_that_is_worth_nothing() {
    for credential in [Credential::Gateway, Credential::Demo] {
        let injection = inject(&spec(credential), None);
        assert_eq!(env(&injection, "ANTHROPIC_BASE_URL"), Some("http://127.0.0.1:8080"));
        assert!(env(&injection, "ANTHROPIC_AUTH_TOKEN").is_some_and(|t| t.starts_with("sandbox-")));
        assert_eq!(env(&injection, "ANTHROPIC_API_KEY"), None);
    }
}

#[test]
fn a_user_signs_in_by_themself_or_brings_a_key_that_no_record_holds() {
    let own = inject(&spec(Credential::User), None);
    assert_eq!((env(&own, "ANTHROPIC_BASE_URL"), env(&own, "ANTHROPIC_AUTH_TOKEN")), (None, None));
    let key = "sk-ant-api03-0123456789abcdefghijklmnopqrstuvwxyz";
    let keyed = inject(&spec(Credential::User), Some(key));
    assert_eq!(env(&keyed, "ANTHROPIC_API_KEY"), Some(key));
    assert!(file(&keyed, ".claude.json").content.contains(&key[key.len() - 20..]), "no dialog asks about it");
    let masked = keyed.masked.to_string();
    assert!(!masked.contains(&key[key.len() - 20..]), "{masked}");
}

#[test]
fn stdio_servers_are_tapped_and_others_left_alone() {
    let servers = BTreeMap::from([
        ("files".to_owned(), json!({ "command": "mcp-files", "args": ["--root", "/workspace"] })),
        (
            "web".to_owned(),
            json!({ "type": "http", "url": "http://127.0.0.1:9/mcp", "headers": { "Authorization": "Bearer x" } }),
        ),
    ]);
    let injection = injection(&spec(Credential::Demo), SessionId::new(), &servers, None, &BTreeMap::new());
    let mcp: Value = serde_json::from_str(&file(&injection, "managed-mcp.json").content).expect("JSON");
    assert_eq!(mcp["mcpServers"]["files"]["command"], crate::engine::GUEST);
    let args = &mcp["mcpServers"]["files"]["args"];
    assert_eq!(*args, json!(["tap", "--name", "files", "--", "mcp-files", "--root", "/workspace"]));
    assert_eq!(mcp["mcpServers"]["web"], servers["web"]);
    assert!(!injection.masked.to_string().contains("Bearer x"));
}
