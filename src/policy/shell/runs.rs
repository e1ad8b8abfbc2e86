//! What a command runs in turn: `sudo`, `env` and `xargs` a command, `sh -c` and `eval` a script.
//!
//! Where a command's own options leave it open which argument is the command, every candidate is named:
//! to look at one too many may deny a line, to look at one too few would let one through.

use super::walk::{Stdin, UNKNOWN};

/// Something that a command runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Run {
    /// A command.
    Command(Vec<String>),
    /// A shell line.
    Script(String),
    /// Commands that are only known when it runs.
    Anything,
}

/// A command that runs the command in its arguments.
struct Wrapper {
    name: &'static str,
    /// Options whose value is the next argument.
    valued: &'static [&'static str],
    /// Arguments before the command.
    before: usize,
    /// Whether `NAME=value` may stand before the command.
    assigns: bool,
}

const fn wrapper(name: &'static str, valued: &'static [&'static str]) -> Wrapper {
    Wrapper { name, valued, before: 0, assigns: false }
}

const fn after(before: usize, wrapper: Wrapper) -> Wrapper {
    Wrapper { before, ..wrapper }
}

const fn assigns(wrapper: Wrapper) -> Wrapper {
    Wrapper { assigns: true, ..wrapper }
}

const SUDO: &[&str] = &[
    "-u",
    "-g",
    "-h",
    "-p",
    "-C",
    "-r",
    "-t",
    "-T",
    "-U",
    "-D",
    "-R",
    "--user",
    "--group",
    "--host",
    "--prompt",
    "--close-from",
    "--role",
    "--type",
    "--command-timeout",
    "--other-user",
    "--chdir",
    "--chroot",
];

const XARGS: Wrapper = wrapper(
    "xargs",
    &[
        "-I",
        "-n",
        "-P",
        "-d",
        "-L",
        "-s",
        "-a",
        "-E",
        "--max-args",
        "--max-procs",
        "--delimiter",
        "--max-lines",
        "--max-chars",
        "--arg-file",
    ],
);

const WRAPPERS: &[Wrapper] = &[
    assigns(wrapper("sudo", SUDO)),
    wrapper("doas", &["-u", "-C", "-a"]),
    assigns(wrapper("env", &["-u", "--unset", "-C", "--chdir", "-a", "--argv0"])),
    wrapper("command", &[]),
    wrapper("nohup", &[]),
    wrapper("setsid", &[]),
    wrapper("nice", &["-n", "--adjustment"]),
    wrapper("ionice", &["-c", "-n", "--class", "--classdata"]),
    wrapper("stdbuf", &["-i", "-o", "-e", "--input", "--output", "--error"]),
    wrapper("time", &["-f", "--format", "-o", "--output"]),
    after(1, wrapper("timeout", &["-s", "--signal", "-k", "--kill-after"])),
    wrapper("exec", &["-a"]),
    wrapper("builtin", &[]),
    wrapper("busybox", &[]),
    wrapper("toybox", &[]),
    wrapper("fakeroot", &["-l", "-s", "-i", "-b", "-u"]),
    after(1, wrapper("chroot", &["--groups", "--userspec"])),
    wrapper("unshare", &["-S", "-G", "-R", "-w", "--setuid", "--setgid", "--root", "--wd", "--propagation"]),
    wrapper("nsenter", &["-t", "-S", "-G", "--target", "--setuid", "--setgid"]),
    wrapper("setpriv", &["--reuid", "--regid", "--groups", "--inh-caps", "--bounding-set", "--ambient-caps"]),
    wrapper("strace", &["-e", "-o", "-p", "-s", "-u", "-E", "-P", "-a", "-b", "-I", "-O", "-S", "-X"]),
    wrapper("ltrace", &["-e", "-o", "-p", "-s", "-u", "-a", "-n", "-l"]),
    after(1, wrapper("taskset", &[])),
    after(1, wrapper("chrt", &["-T", "-P", "-D"])),
    wrapper("prlimit", &["-p", "--pid", "-o", "--output"]),
    wrapper("numactl", &["-N", "-m", "-i", "-C", "-p"]),
    wrapper("unbuffer", &[]),
    wrapper("systemd-run", &["-u", "-p", "-E", "-t", "--unit", "--property", "--setenv"]),
    wrapper("valgrind", &[]),
    after(1, wrapper("flock", &["-w", "-E", "--timeout", "--conflict-exit-code"])),
];

/// What the command `name` runs when it is given these arguments.
pub(super) fn of(name: &str, given: &[String], stdin: &Stdin) -> Vec<Run> {
    match name {
        "sh" | "bash" | "dash" | "zsh" | "ksh" | "ash" | "mksh" | "rbash" | "fish" => shell(given, stdin),
        "eval" => vec![Run::Script(given.join(" "))],
        "trap" => {
            let action = given.iter().find(|word| !word.starts_with('-'));
            action.map(|word| Run::Script(word.clone())).into_iter().collect()
        }
        "alias" => {
            let values = given.iter().filter_map(|word| word.split_once('='));
            values.map(|(_, value)| Run::Script(value.to_owned())).collect()
        }
        "source" | "." if given.first().is_some_and(|file| is_stream(file)) => vec![Run::Anything],
        // `command -v curl` asks where curl is.
        "command" if given.first().is_some_and(|o| o.starts_with('-') && o.contains(['v', 'V'])) => {
            Vec::new()
        }
        "env" => [split_string(given), wrapped_by(name, given)].concat(),
        "sudo" | "doas" => {
            let inner = wrapped_by(name, given);
            let shell = |option: &String| matches!(option.as_str(), "-s" | "-i" | "--shell" | "--login");
            if inner.is_empty() && given.iter().any(shell) { vec![Run::Anything] } else { inner }
        }
        "xargs" => xargs(given),
        "find" | "fd" | "fdfind" => find(given),
        "parallel" | "watch" => {
            let line = tail(given, &["-n", "-j", "-I", "--interval", "--jobs"]).join(" ");
            vec![Run::Script(line.replace("{}", "\0"))]
        }
        "su" | "runuser" | "script" => dash_c(given),
        "flock" => [dash_c(given), wrapped_by(name, given)].concat(),
        _ => wrapped_by(name, given),
    }
}

fn wrapped_by(name: &str, given: &[String]) -> Vec<Run> {
    WRAPPERS.iter().find(|wrapper| wrapper.name == name).map(|w| wrapped(w, given)).unwrap_or_default()
}

fn wrapped(wrapper: &Wrapper, given: &[String]) -> Vec<Run> {
    let mut lengths = Vec::new();
    candidates(wrapper, given, wrapper.before, &mut lengths);
    lengths.sort_unstable();
    lengths.dedup();
    lengths.into_iter().map(|len| Run::Command(given[given.len() - len..].to_vec())).collect()
}

/// Collects where the command may begin, each as the number of arguments from there to the end.
fn candidates(wrapper: &Wrapper, mut given: &[String], mut before: usize, lengths: &mut Vec<usize>) {
    const ENOUGH: usize = 16; // more than a sane line has; a hostile one must not multiply
    while let Some((word, rest)) = given.split_first() {
        if word == "--" {
            if before < rest.len() {
                lengths.push(rest.len() - before);
            }
            return;
        } else if wrapper.valued.contains(&word.as_str()) {
            given = rest.get(1..).unwrap_or_default();
        } else if word.len() > 1 && word.starts_with('-') {
            // `-Eu name` ends in an option with a value; `-uname` carries its own.
            let last = format!("-{}", word.chars().next_back().unwrap_or('-'));
            let cluster = word.len() > 2 && !word.starts_with("--");
            if cluster && wrapper.valued.contains(&last.as_str()) && lengths.len() < ENOUGH {
                candidates(wrapper, rest.get(1..).unwrap_or_default(), before, lengths);
            }
            given = rest;
        } else if wrapper.assigns && is_assignment(word) {
            given = rest;
        } else if before > 0 {
            before -= 1;
            given = rest;
        } else {
            lengths.push(given.len());
            return;
        }
    }
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}

/// A file name that stands for what another command writes.
pub(super) fn is_stream(file: &str) -> bool {
    file.contains(UNKNOWN) || file.starts_with("/dev/") || file.starts_with("/proc/") || file == "-"
}

fn shell(given: &[String], stdin: &Stdin) -> Vec<Run> {
    let mut rest = given;
    let mut from_string = false;
    while let Some((word, after)) = rest.split_first() {
        match word.as_str() {
            "--version" | "--help" => return Vec::new(),
            "-" | "--" => {
                rest = after;
                break;
            }
            "--rcfile" | "--init-file" | "-o" | "+o" | "-O" | "+O" => {
                rest = after.get(1..).unwrap_or_default();
            }
            option if option.starts_with("--command") => {
                let inline = option.split_once('=').map(|(_, script)| script.to_owned());
                return vec![inline.or(after.first().cloned()).map_or(Run::Anything, Run::Script)];
            }
            option if option.starts_with(['-', '+']) => {
                let letters = !option.starts_with("--");
                from_string |= letters && option.starts_with('-') && option.contains('c');
                // In a cluster such as -ceo the o has its value after it.
                let valued = letters && option.ends_with(['o', 'O']);
                rest = after.get(usize::from(valued)..).unwrap_or_default();
            }
            _ => break,
        }
    }
    match (from_string, rest.first()) {
        (true, Some(script)) => vec![Run::Script(script.clone())],
        (true, None) => vec![Run::Anything],
        (false, Some(file)) if !given.iter().any(|o| o == "-s") && !is_stream(file) => Vec::new(),
        (false, _) => match stdin {
            Stdin::Text(text) => vec![Run::Script(text.clone())],
            Stdin::File => Vec::new(),
            Stdin::Open => vec![Run::Anything],
        },
    }
}

/// `env -S 'command line'`.
fn split_string(given: &[String]) -> Vec<Run> {
    let line = given.iter().enumerate().find_map(|(i, word)| match word.as_str() {
        "-S" | "--split-string" => Some(given[i + 1..].join(" ")),
        option => option
            .strip_prefix("--split-string=")
            .or_else(|| option.strip_prefix("-S"))
            .or_else(|| option.strip_prefix("-vS"))
            .map(|first| [&[first.to_owned()], &given[i + 1..]].concat().join(" ")),
    });
    line.map(Run::Script).into_iter().collect()
}

fn xargs(given: &[String]) -> Vec<Run> {
    // What stands for the input, if anything does: `-I{}`, `-I {}`, `-i`, `--replace=R`.
    let place = given.iter().enumerate().find_map(|(i, word)| match word.as_str() {
        "-I" => given.get(i + 1).cloned(),
        "-i" | "--replace" => Some("{}".to_owned()),
        option => ["-I", "-i", "--replace="].iter().find_map(|p| option.strip_prefix(p)).map(str::to_owned),
    });
    let fill = |run| match (run, &place) {
        (Run::Command(argv), Some(place)) if !place.is_empty() => {
            Run::Command(argv.into_iter().map(|word| word.replace(place.as_str(), "\0")).collect())
        }
        (Run::Command(mut argv), _) => {
            argv.push(UNKNOWN.to_string());
            Run::Command(argv)
        }
        (other, _) => other,
    };
    wrapped(&XARGS, given).into_iter().map(fill).collect()
}

fn find(given: &[String]) -> Vec<Run> {
    let mut runs = Vec::new();
    let mut rest = given;
    while let Some((word, after)) = rest.split_first() {
        rest = after;
        if matches!(
            word.as_str(),
            "-exec" | "-execdir" | "-ok" | "-okdir" | "-x" | "-X" | "--exec" | "--exec-batch"
        ) {
            let end = after.iter().position(|w| w == ";" || w == "+").unwrap_or(after.len());
            runs.push(Run::Command(after[..end].iter().map(|w| w.replace("{}", "\0")).collect()));
            rest = &after[end..];
        }
    }
    runs
}

/// The arguments after the options.
fn tail<'a>(given: &'a [String], valued: &[&str]) -> &'a [String] {
    let mut rest = given;
    while let Some((word, after)) = rest.split_first().filter(|(word, _)| word.starts_with('-')) {
        rest = if valued.contains(&word.as_str()) { after.get(1..).unwrap_or_default() } else { after };
    }
    rest
}

fn dash_c(given: &[String]) -> Vec<Run> {
    let after = |i: usize| Some(given.get(i + 1).cloned().map_or(Run::Anything, Run::Script));
    let found = given.iter().enumerate().find_map(|(i, word)| match word.as_str() {
        "--command" => after(i),
        option if option.starts_with("--") => {
            option.strip_prefix("--command=").map(|script| Run::Script(script.to_owned()))
        }
        option if option.starts_with('-') && option.ends_with('c') => after(i),
        _ => None,
    });
    found.into_iter().collect()
}
