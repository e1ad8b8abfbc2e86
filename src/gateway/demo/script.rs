//! What the demo model says. Pure: a request in, a reply out.
//!
//! | the request | the reply |
//! |---|---|
//! | wants JSON of a schema, or offers the client's tool for that | the least that the schema lets pass |
//! | asks to summarise the conversation (`/compact`) | a summary |
//! | ends with a tool's result | a quote of it |
//! | ends with a word from a background agent | thanks, and no tool: else it would send the next one |
//! | ends with a prompt | a word and a tool: the MCP tool that the prompt names, or else by the first word of it that tells; words only, where no tool is offered |

use serde_json::{Value, json};

mod schema;

use schema::filled;

/// The longest quote of a tool's result.
const QUOTE: usize = 400; // characters
/// Where the demo writes.
const FILE: &str = "/workspace/hello-from-the-demo.txt";

/// How the demo commits: whatever the workspace holds, under a name of its own.
const COMMIT: &str = "git init -q && git config user.name demo && git config user.email demo@example.org \
    && git add -A && git commit -q --allow-empty -m 'The demo model was here'";

/// A reply, block by block.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reply {
    pub(super) blocks: Vec<Block>,
}

/// A block of a message's content.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Block {
    /// Words.
    Text(String),
    /// A tool to be run.
    Tool {
        /// Which.
        name: String,
        /// With what.
        input: Value,
    },
}

impl Block {
    /// What the block says, as JSON, for counting.
    pub(super) fn content(&self) -> Value {
        match self {
            Block::Text(text) => json!(text),
            Block::Tool { input, .. } => input.clone(),
        }
    }

    /// The block, whole.
    pub(super) fn whole(&self, tool_id: &str) -> Value {
        match self {
            Block::Text(text) => json!({ "type": "text", "text": text }),
            Block::Tool { name, input } => {
                json!({ "type": "tool_use", "id": tool_id, "name": name, "input": input })
            }
        }
    }

    /// The block as it begins in a stream.
    pub(super) fn begin(&self, tool_id: &str) -> Value {
        match self {
            Block::Text(_) => json!({ "type": "text", "text": "" }),
            Block::Tool { name, .. } => {
                json!({ "type": "tool_use", "id": tool_id, "name": name, "input": {} })
            }
        }
    }

    /// The block's content in a stream.
    pub(super) fn deltas(&self) -> Vec<Value> {
        match self {
            Block::Text(text) => text
                .split_inclusive(' ')
                .collect::<Vec<_>>()
                .chunks(6)
                .map(|words| json!({ "type": "text_delta", "text": words.concat() }))
                .collect(),
            Block::Tool { input, .. } => {
                vec![json!({ "type": "input_json_delta", "partial_json": input.to_string() })]
            }
        }
    }
}

/// Decides what to say.
pub(super) fn reply(request: &Value) -> Reply {
    let messages = request.get("messages").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if let Some(schema) =
        request.pointer("/output_config/format/schema").or(request.pointer("/output_format/schema"))
    {
        return say(&filled(schema).to_string());
    }
    if is_compaction(messages) {
        return say(SUMMARY);
    }
    match last_result(messages) {
        Some(result) => after_tool(&result),
        None if is_notification(messages) => say("The agent that I had sent is back."),
        None => to_prompt(&prompt(messages), request),
    }
}

/// What takes the place of a conversation that is compacted.
const SUMMARY: &str = "<analysis>\nA conversation with the scripted demo model of sandboxctl.\n</analysis>\n\n\
    <summary>\n1. Primary Request and Intent: the user tried the sandbox out with its scripted demo model.\n\
    2. Pending Tasks: none.\n</summary>";

/// Whether the client asks for a summary of all that was said. These are its words; a person's prompt does
/// not begin with them.
fn is_compaction(messages: &[Value]) -> bool {
    const ASKED: [&str; 2] =
        ["CRITICAL: Respond with TEXT ONLY", "Your task is to create a detailed summary"];
    let Some(last) = messages.last() else { return false };
    let texts = match &last["content"] {
        Value::Array(blocks) => blocks.iter().filter_map(|b| b["text"].as_str()).collect(),
        content => content.as_str().into_iter().collect::<Vec<_>>(),
    };
    texts.iter().any(|text| ASKED.iter().any(|words| text.trim_start().starts_with(words)))
}

/// Whether the client tells of an agent in the background, which nobody typed.
fn is_notification(messages: &[Value]) -> bool {
    messages.last().is_some_and(|last| text_of(&last["content"]).contains("<task-notification>"))
}

/// What a prompt is about.
#[derive(Clone, Copy)]
enum Topic {
    Write,
    Read,
    Delegate,
    Commit,
    Push,
    Pull,
    Time,
    System,
}

/// The first word that tells wins: "read the file that you made" reads.
const WORDS: [(&str, Topic); 20] = [
    ("write", Topic::Write),
    ("create", Topic::Write),
    ("save", Topic::Write),
    ("make", Topic::Write),
    ("read", Topic::Read),
    ("open", Topic::Read),
    ("agent", Topic::Delegate),
    ("subagent", Topic::Delegate),
    ("delegate", Topic::Delegate),
    ("commit", Topic::Commit),
    ("push", Topic::Push),
    ("pull", Topic::Pull),
    ("date", Topic::Time),
    ("time", Topic::Time),
    ("day", Topic::Time),
    ("system", Topic::System),
    ("kernel", Topic::System),
    ("machine", Topic::System),
    ("linux", Topic::System),
    ("uname", Topic::System),
];

fn topic(prompt: &str) -> Option<Topic> {
    let lower = prompt.to_lowercase();
    let mut words = lower.split(|c: char| !c.is_alphanumeric());
    words.find_map(|word| WORDS.iter().find(|(name, _)| *name == word).map(|(_, topic)| *topic))
}

fn to_prompt(prompt: &str, request: &Value) -> Reply {
    let offered = request.get("tools").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let tool = |name: &str| offered.iter().find(|t| t["name"] == name);
    if let Some(structured) = tool("StructuredOutput") {
        return run(
            "StructuredOutput",
            filled(&structured["input_schema"]),
            "Here it is, in the form asked for.",
        );
    }
    if let Some(named) = offered.iter().find(|t| is_named(t, prompt)) {
        let name = named["name"].as_str().unwrap_or_default();
        return run(name, filled(&named["input_schema"]), "I will ask the server that has this tool.");
    }
    let delegate = ["Agent", "Task"].into_iter().find(|name| tool(name).is_some());
    match (topic(prompt), delegate) {
        (Some(Topic::Write), _) if tool("Write").is_some() => {
            let asked = shorten(prompt, 120);
            let content = format!("The scripted demo model wrote this file. It was asked: {asked}\n");
            run("Write", json!({ "file_path": FILE, "content": content }), "I will write a small file.")
        }
        (Some(Topic::Read), _) if tool("Read").is_some() => {
            let words = "I will read the file that I write when asked to.";
            run("Read", json!({ "file_path": FILE }), words)
        }
        (Some(Topic::Delegate), Some(name)) => {
            let input = json!({
                "description": "Look around",
                "prompt": "List the files of the workspace.",
                "subagent_type": "general-purpose",
            });
            run(name, input, "I will send somebody to look around.")
        }
        (topic, _) if tool("Bash").is_some() => {
            // The client runs those that only look without a question, in its default mode too.
            let command = match topic {
                Some(Topic::Commit) => COMMIT,
                Some(Topic::Push) => "git push",
                Some(Topic::Pull) => "gh pr create --fill",
                Some(Topic::Time) => "date",
                Some(Topic::System) => "uname -sr",
                _ => "ls -la",
            };
            let input = json!({ "command": command, "description": "Look around in the sandbox" });
            run("Bash", input, "I will look around in the sandbox.")
        }
        _ => say(&format!(
            "This is the scripted demo model of sandboxctl; it does not think. You said: {}",
            shorten(prompt, 200)
        )),
    }
}

/// Whether a prompt names this tool of an MCP server.
fn is_named(tool: &Value, prompt: &str) -> bool {
    tool["name"].as_str().is_some_and(|name| name.starts_with("mcp__") && prompt.contains(name))
}

fn run(name: &str, input: Value, words: &str) -> Reply {
    let tool = Block::Tool { name: name.to_owned(), input };
    Reply { blocks: vec![Block::Text(words.to_owned()), tool] }
}

fn after_tool(result: &ToolResult) -> Reply {
    if result.is_error {
        return say(&format!(
            "The tool did not run: {}\nThis is the scripted demo model; ask for something else.",
            result.quote()
        ));
    }
    say(&format!(
        "Here is what the tool said:\n\n{}\n\nThis is the scripted demo model of sandboxctl: the client, the tool and the telemetry are real.",
        result.quote()
    ))
}

fn say(text: &str) -> Reply {
    Reply { blocks: vec![Block::Text(text.to_owned())] }
}

struct ToolResult {
    text: String,
    is_error: bool,
}

impl ToolResult {
    fn quote(&self) -> String {
        shorten(self.text.trim(), QUOTE)
    }
}

/// The tool result that ends the conversation so far, if one does. What the client adds after it by itself (reminders, in
/// messages of their own when a conversation is continued) does not come between.
fn last_result(messages: &[Value]) -> Option<ToolResult> {
    for message in messages.iter().rev() {
        let blocks = message.get("content").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        if let Some(result) = blocks.iter().rev().find(|b| b["type"] == "tool_result") {
            return Some(ToolResult {
                text: text_of(&result["content"]),
                is_error: result["is_error"] == true,
            });
        }
        if message["role"] == "assistant" || !said(message).is_empty() {
            return None;
        }
    }
    None
}

/// What the user said last.
fn prompt(messages: &[Value]) -> String {
    messages.iter().rev().map(said).find(|text| !text.is_empty()).unwrap_or_default()
}

/// What the user says in a message, without what the client adds around it.
fn said(message: &Value) -> String {
    if message["role"] != "user" {
        return String::new();
    }
    let text = match &message["content"] {
        Value::Array(blocks) => {
            let own = blocks.iter().filter(|b| b["type"] == "text").filter_map(|b| b["text"].as_str());
            own.filter(|t| !t.trim_start().starts_with('<')).collect::<Vec<_>>().join(" ")
        }
        content => text_of(content),
    };
    text.trim().to_owned()
}

fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(blocks) => {
            blocks.iter().filter_map(|b| b["text"].as_str()).collect::<Vec<_>>().join("\n")
        }
        _ => String::new(),
    }
}

fn shorten(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        text.to_owned()
    } else {
        text.chars().take(most).chain(['…']).collect()
    }
}

#[cfg(test)]
mod tests;
