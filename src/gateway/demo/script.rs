//! What the demo model says. Pure: a request in, a reply out.

use serde_json::{Value, json};

/// The longest quote of a tool's result.
const QUOTE: usize = 400; // characters
/// Where the demo writes.
const FILE: &str = "/workspace/hello-from-the-demo.txt";

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
        name: &'static str,
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
    match last_result(messages) {
        Some(result) => after_tool(&result),
        None => to_prompt(&prompt(messages), &tools(request)),
    }
}

fn to_prompt(prompt: &str, tools: &[&str]) -> Reply {
    let lower = prompt.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|w| lower.contains(w));
    let tool = if has(&["write", "create", "save"]) && tools.contains(&"Write") {
        let content =
            format!("The scripted demo model wrote this file. It was asked: {}\n", shorten(prompt, 120));
        Some(("Write", json!({ "file_path": FILE, "content": content }), "I will write a small file."))
    } else if has(&["read ", "show the file", "open "]) && tools.contains(&"Read") {
        Some(("Read", json!({ "file_path": FILE }), "I will read the file that I write when asked to."))
    } else if tools.contains(&"Bash") {
        let command = if has(&["system", "kernel", "machine"]) { "uname -sr" } else { "ls -la" };
        let input = json!({ "command": command, "description": "Look around in the sandbox" });
        Some(("Bash", input, "I will look around in the sandbox."))
    } else {
        None
    };
    match tool {
        Some((name, input, words)) => {
            Reply { blocks: vec![Block::Text(words.to_owned()), Block::Tool { name, input }] }
        }
        None => say(&format!(
            "This is the scripted demo model of sandboxctl; it does not think. You said: {}",
            shorten(prompt, 200)
        )),
    }
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

/// The tool result that ends the conversation so far, if one does.
fn last_result(messages: &[Value]) -> Option<ToolResult> {
    let content = messages.last()?.get("content")?.as_array()?;
    let result = content.iter().rev().find(|b| b["type"] == "tool_result")?;
    Some(ToolResult { text: text_of(&result["content"]), is_error: result["is_error"] == true })
}

/// What the user said last, without what the client adds around it.
fn prompt(messages: &[Value]) -> String {
    let said = messages.iter().rev().filter(|m| m["role"] == "user").map(|m| match &m["content"] {
        Value::Array(blocks) => {
            let own = blocks.iter().filter(|b| b["type"] == "text").filter_map(|b| b["text"].as_str());
            own.filter(|t| !t.trim_start().starts_with('<')).collect::<Vec<_>>().join(" ")
        }
        content => text_of(content),
    });
    said.map(|text| text.trim().to_owned()).find(|text| !text.is_empty()).unwrap_or_default()
}

fn tools(request: &Value) -> Vec<&str> {
    let tools = request.get("tools").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    tools.iter().filter_map(|t| t["name"].as_str()).collect()
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

/// The least that a JSON schema lets pass: for requests that want a structured answer.
fn filled(schema: &Value) -> Value {
    if let Some(first) = schema.get("enum").and_then(Value::as_array).and_then(|e| e.first()) {
        return first.clone();
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("object") => {
            let fields = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
            Value::Object(fields.map(|(name, field)| (name.clone(), filled(field))).collect())
        }
        Some("array") => json!([]),
        Some("boolean") => json!(false),
        Some("number" | "integer") => json!(0),
        _ => json!("demo session"),
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
mod tests {
    use super::*;

    fn ask(content: Value) -> Reply {
        let tools = json!([{ "name": "Bash" }, { "name": "Write" }, { "name": "Read" }]);
        reply(&json!({ "messages": [{ "role": "user", "content": content }], "tools": tools }))
    }

    fn tool(reply: &Reply) -> Option<&'static str> {
        reply.blocks.iter().find_map(|b| if let Block::Tool { name, .. } = b { Some(*name) } else { None })
    }

    #[test]
    fn the_prompt_chooses_the_tool() {
        assert_eq!(tool(&ask(json!("List the files"))), Some("Bash"));
        assert_eq!(tool(&ask(json!([{ "type": "text", "text": "Write a poem" }]))), Some("Write"));
        assert_eq!(tool(&ask(json!("read it back"))), Some("Read"));
    }

    #[test]
    fn what_the_client_adds_is_not_what_the_user_said() {
        let added = json!([
            { "type": "text", "text": "<system-reminder>write, write, write</system-reminder>" },
            { "type": "text", "text": "List the files" },
        ]);
        assert_eq!(tool(&ask(added)), Some("Bash"));
    }

    #[test]
    fn a_result_is_quoted_and_no_tool_follows() {
        let result = json!([{ "type": "tool_result", "tool_use_id": "t", "content": "README.md" }]);
        let reply = ask(result);
        assert_eq!(tool(&reply), None);
        assert!(matches!(&reply.blocks[0], Block::Text(t) if t.contains("README.md")));
        let failed = json!([{ "type": "tool_result", "tool_use_id": "t", "is_error": true, "content": [{ "type": "text", "text": "denied" }] }]);
        assert!(matches!(&ask(failed).blocks[0], Block::Text(t) if t.contains("did not run: denied")));
    }

    #[test]
    fn without_tools_it_only_talks() {
        let reply = reply(&json!({ "messages": [{ "role": "user", "content": "Write a title" }] }));
        assert_eq!(tool(&reply), None);
    }
}
