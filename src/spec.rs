//! What a session is asked to be: its user, its profile's choices, and the resolved [`Spec`] of the two.

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use bytesize::ByteSize;
use serde::{Deserialize, Serialize, Serializer};

/// The person a session is for. Both parts become resource attributes of everything the session sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// Their name, as they would sign.
    #[schema(
        example = "Ada Lovelace",
        pattern = r"^[^\s\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]([^\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]{0,98}[^\s\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069])?$"
    )]
    pub name: String,
    /// Their e-mail address, in lower case: it tells people apart.
    #[schema(example = "ada@example.org", pattern = "^[!#-+.-;=?A-~-]{1,100}@[!#-+.-;=?A-~-]{1,100}$")]
    pub email: String,
}

/// Why a text names no user.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UserError {
    /// The form is not `Name <mail>`.
    #[error("'{0}' is not a user: write 'Ada Lovelace <ada@example.org>'")]
    Form(String),
    /// The name is empty, too long, or holds what is no part of a name: control characters, and such as turn the
    /// text after them around.
    #[error("user name: give 1 to 100 characters without control characters")]
    Name,
    /// The address has no `@`, or holds what an address cannot.
    #[error("user email: give an address such as ada@example.org")]
    Email,
}

impl User {
    /// A checked user.
    pub fn new(name: &str, email: &str) -> Result<User, UserError> {
        // However somebody types their address today, they are who they were.
        let (name, email) = (name.trim(), email.trim().to_lowercase());
        if name.is_empty() || name.chars().count() > 100 || name.chars().any(|c| c.is_control() || turns(c)) {
            return Err(UserError::Name);
        }
        let plain = |c: char| {
            !c.is_control() && !turns(c) && !c.is_whitespace() && !matches!(c, '<' | '>' | ',' | '"')
        };
        let parts = email.split_once('@');
        if email.len() > 254
            || !email.chars().all(plain)
            || !parts
                .is_some_and(|(local, host)| !local.is_empty() && !host.is_empty() && !host.contains('@'))
        {
            return Err(UserError::Email);
        }
        Ok(User { name: name.to_owned(), email })
    }
}

/// Explicit directional formatting (Unicode, UAX #9); names written from right to left need none.
fn turns(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl FromStr for User {
    type Err = UserError;

    fn from_str(text: &str) -> Result<User, UserError> {
        let form = || UserError::Form(text.to_owned());
        let (name, rest) = text.split_once('<').ok_or_else(form)?;
        let email = rest.trim_end().strip_suffix('>').ok_or_else(form)?;
        User::new(name, email)
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} <{}>", self.name, self.email)
    }
}

/// Whose credential pays for the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Credential {
    /// The person's own: they log in inside the session, or give a key when joining. Never stored.
    #[default]
    User,
    /// The operator's key, which stays in the daemon; a budget applies.
    Gateway,
    /// A scripted model inside the daemon: no key, no network.
    Demo,
}

/// A named set of choices, `[profiles.NAME]` in the configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Profile {
    /// Container image.
    pub image: String,
    /// Program and arguments when the request names none.
    pub program: Vec<String>,
    /// Whose credential pays for the model.
    pub credential: Credential,
    /// Container runtime, such as `runsc`; the engine's default when absent.
    pub runtime: Option<String>,
    /// Longest life of a session.
    #[serde(with = "humantime_serde")]
    pub ttl: Duration,
    /// A session with no output, input or telemetry for this long is ended.
    #[serde(with = "humantime_serde")]
    pub idle: Duration,
    /// How long before an end by time its user is warned.
    #[serde(with = "humantime_serde")]
    pub warn: Duration,
    /// Between asking a program to end and killing it. Claude Code wants at least 5 s to flush.
    #[serde(with = "humantime_serde")]
    pub grace: Duration,
    /// Containers kept warm for this profile.
    pub spares: usize,
    /// Whether the session's user may become root in the container: loosens privileges, capabilities and
    /// the read-only root.
    pub sudo: bool,
    /// Whether what is typed is recorded, besides what the terminal shows.
    pub record_input: bool,
    /// Extra environment of the program.
    pub env: BTreeMap<String, String>,
    /// What the container may use.
    pub limits: Limits,
    /// What telemetry carries.
    pub telemetry: Telemetry,
    /// What Claude Code may do without asking, and what it may not do at all.
    pub policy: Policy,
    /// Where the egress proxy lets connections go: `host:port`, `*.host:port`; nowhere when empty.
    pub egress: Vec<String>,
    /// What the session may spend in `gateway` mode.
    pub budget: Budget,
}

impl Default for Profile {
    fn default() -> Profile {
        Profile {
            image: "sandboxctl/claude-code:latest".to_owned(),
            program: vec!["claude".to_owned()],
            credential: Credential::default(),
            runtime: None,
            ttl: Duration::from_secs(8 * 3600),
            idle: Duration::from_secs(3600),
            warn: Duration::from_secs(300),
            grace: Duration::from_secs(6),
            spares: 0,
            sudo: false,
            record_input: false,
            env: BTreeMap::new(),
            limits: Limits::default(),
            telemetry: Telemetry::default(),
            policy: Policy::default(),
            egress: Vec::new(),
            budget: Budget::default(),
        }
    }
}

/// What a container may use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Processors, in whole and parts.
    pub cpus: f64,
    /// Memory, swap included.
    #[serde(serialize_with = "exact")]
    pub memory: ByteSize,
    /// Processes and threads.
    pub pids: i64,
    /// What home and workspace may hold together.
    #[serde(serialize_with = "exact")]
    pub disk: ByteSize,
    /// `/tmp`, in memory.
    #[serde(serialize_with = "exact")]
    pub tmp: ByteSize,
    /// Open files of one process.
    pub open_files: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            cpus: 2.0,
            memory: ByteSize::gib(4),
            pids: 1024,
            disk: ByteSize::gib(10),
            tmp: ByteSize::mib(512),
            open_files: 65_536,
        }
    }
}

/// Whether a runtime's name stands for gVisor: `runsc`, as its own installation calls it, or `runsc-…`.
pub fn is_gvisor(runtime: Option<&str>) -> bool {
    runtime.is_some_and(|name| name == "runsc" || name.starts_with("runsc-"))
}

/// A size in the largest unit that it is a whole number of. [`ByteSize`] by itself rounds to one decimal, and
/// a session's limits are stored as they are written here.
fn exact<S: Serializer>(size: &ByteSize, to: S) -> Result<S::Ok, S::Error> {
    let bytes = size.as_u64();
    let whole = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")]
        .into_iter()
        .find(|(unit, _)| bytes > 0 && bytes.is_multiple_of(*unit));
    let (unit, name) = whole.unwrap_or((1, "B"));
    to.collect_str(&format_args!("{} {name}", bytes / unit))
}

/// What the client's telemetry carries beside counts and times.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// The text of prompts and answers.
    pub prompts: bool,
    /// Tool parameters, names of MCP servers and skills, full error texts.
    pub tool_details: bool,
    /// Tool input and output.
    pub tool_content: bool,
}

impl Default for Telemetry {
    fn default() -> Telemetry {
        Telemetry { prompts: true, tool_details: true, tool_content: false }
    }
}

/// What Claude Code may do. Enforced by its managed settings and, for `deny_*`, by the policy hook.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// `permissions.defaultMode` of Claude Code: `default`, `acceptEdits`, `plan`, `dontAsk`.
    pub mode: String,
    /// Permission rules that need no question, such as `Bash(git status)`.
    pub allow: Vec<String>,
    /// Permission rules that are always asked.
    pub ask: Vec<String>,
    /// Permission rules that are refused.
    pub deny: Vec<String>,
    /// Commands that the hook refuses wherever they stand in a shell line, such as `curl` or `git push`.
    pub deny_commands: Vec<String>,
    /// Globs of paths that the hook refuses to tools that name a path, such as `**/.env`.
    pub deny_paths: Vec<String>,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            mode: "default".to_owned(),
            allow: Vec::new(),
            ask: Vec::new(),
            deny: Vec::new(),
            deny_commands: Vec::new(),
            deny_paths: Vec::new(),
        }
    }
}

/// What a session may spend; absent is without limit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Budget {
    /// US dollars, by the gateway's own count.
    pub usd: Option<f64>,
    /// Input and output tokens together.
    pub tokens: Option<u64>,
}

/// A session, resolved: what the request asked for over what the profile says. Stored with the session and
/// never changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// Who it is for.
    pub user: User,
    /// The team that their e-mail address belonged to when the session was asked for.
    #[serde(default)]
    pub team: Option<String>,
    /// The profile's name.
    pub profile_name: String,
    /// The profile, with the request's image, time to live and program laid over it.
    pub profile: Profile,
    /// The named workspace that is kept for the user's next session, if they asked for one.
    pub workspace: Option<String>,
    /// Whether an API key of the user's own came with the request. The key itself is kept nowhere.
    #[serde(default)]
    pub own_key: bool,
    /// Terminal columns at the start.
    pub cols: u16,
    /// Terminal rows at the start.
    pub rows: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_a_name_and_an_address() {
        let ada: User = "Ada Lovelace <ada@example.org>".parse().expect("a user");
        assert_eq!((ada.name.as_str(), ada.email.as_str()), ("Ada Lovelace", "ada@example.org"));
        assert_eq!(ada.to_string(), "Ada Lovelace <ada@example.org>");
        assert_eq!("Ada Lovelace <Ada@Example.ORG>".parse(), Ok(ada), "an address has no case");
    }

    #[test]
    fn sizes_are_stored_as_they_are() {
        for bytes in [0, 1, 1023, 1 << 10, (10 << 30) + (512 << 20), 4 << 30, (1 << 60) + 1, u64::MAX] {
            let limits = Limits { memory: ByteSize::b(bytes), ..Limits::default() };
            let text = serde_json::to_string(&limits).expect("JSON");
            assert_eq!(serde_json::from_str::<Limits>(&text).expect("limits"), limits, "{text}");
        }
    }

    #[test]
    fn what_is_no_user_is_refused_with_the_part_that_is_wrong() {
        assert_eq!("Ada".parse::<User>(), Err(UserError::Form("Ada".into())));
        assert_eq!(" <ada@example.org>".parse::<User>(), Err(UserError::Name));
        assert_eq!("Ada\u{1b}[31m <a@b>".parse::<User>(), Err(UserError::Name));
        assert_eq!("Ada\u{202e}ecalevoL <a@b>".parse::<User>(), Err(UserError::Name));
        for bad in ["ada", "@b", "a@", "a b@c", "a@b@c", "a@b\n"] {
            assert_eq!(User::new("Ada", bad).is_err(), !bad.ends_with('\n'), "{bad:?}");
        }
    }
}
