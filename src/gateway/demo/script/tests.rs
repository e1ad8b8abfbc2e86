use super::*;

fn offered(names: &[&str]) -> Value {
    names.iter().map(|name| json!({ "name": name })).collect()
}

fn ask(content: Value) -> Reply {
    let tools = offered(&["Bash", "Write", "Read", "Agent"]);
    reply(&json!({ "messages": [{ "role": "user", "content": content }], "tools": tools }))
}

fn tool(reply: &Reply) -> Option<(&str, &Value)> {
    reply.blocks.iter().find_map(|block| match block {
        Block::Tool { name, input } => Some((name.as_str(), input)),
        Block::Text(_) => None,
    })
}

fn name(reply: &Reply) -> Option<&str> {
    tool(reply).map(|(name, _)| name)
}

fn words(reply: &Reply) -> &str {
    let mut texts = reply.blocks.iter().filter_map(|block| match block {
        Block::Text(text) => Some(text.as_str()),
        Block::Tool { .. } => None,
    });
    texts.next().expect("words")
}

#[test]
fn the_first_word_that_tells_chooses_the_tool() {
    for (prompt, expected) in [
        ("List the files", "Bash"),
        ("Write a poem", "Write"),
        ("Please create a file and then read it", "Write"),
        ("read the file that you made", "Read"),
        ("Ask an agent to look around", "Agent"),
        ("What is in this thread? Overwritten?", "Bash"),
        ("", "Bash"),
    ] {
        assert_eq!(name(&ask(json!(prompt))), Some(expected), "{prompt}");
    }
    let command = |prompt: &str| tool(&ask(json!(prompt))).expect("a tool").1["command"].clone();
    assert_eq!(command("What day is it?"), "date");
    assert_eq!(command("Which kernel is this?"), "uname -sr");
    assert_eq!(command("What is here?"), "ls -la");
    assert_eq!(command("Push it"), "git push");
    assert_eq!(command("Open no file, make a pull request"), Value::Null, "the first word tells");
    assert_eq!(command("A pull request, please"), "gh pr create --fill");
    assert!(command("Commit it").as_str().is_some_and(|c| c.contains(" && git commit ")));
}

#[test]
fn a_tool_of_an_mcp_server_is_used_when_it_is_named() {
    let schema = json!({ "type": "object", "properties": { "title": { "type": "string" } } });
    let tools = json!([{ "name": "Bash" }, { "name": "mcp__notes__add", "input_schema": schema }]);
    let about =
        |prompt: &str| reply(&json!({ "messages": [{ "role": "user", "content": prompt }], "tools": tools }));
    assert_eq!(name(&about("Use mcp__notes__add")), Some("mcp__notes__add"));
    assert_eq!(name(&about("Add a note")), Some("Bash"));
}

#[test]
fn the_word_of_an_agent_that_is_done_sends_no_other() {
    let told = "<task-notification>\n<status>completed</status>\n</task-notification>";
    let messages = json!([
        { "role": "user", "content": "Ask an agent to look around" },
        { "role": "assistant", "content": "I will send somebody to look around." },
        { "role": "user", "content": [{ "type": "text", "text": told }] },
    ]);
    let answer = reply(&json!({ "messages": messages, "tools": offered(&["Bash", "Agent"]) }));
    assert_eq!(tool(&answer), None);
}

#[test]
fn what_the_client_adds_is_not_what_the_user_said() {
    let added = json!([
        { "type": "text", "text": "<system-reminder>write, write, write</system-reminder>" },
        { "type": "text", "text": "List the files" },
    ]);
    assert_eq!(name(&ask(added)), Some("Bash"));
}

#[test]
fn a_result_is_quoted_and_no_tool_follows() {
    let result = json!([{ "type": "tool_result", "tool_use_id": "t", "content": "README.md" }]);
    let answer = ask(result);
    assert_eq!(tool(&answer), None);
    assert!(words(&answer).contains("README.md"));
    let long = json!([{ "type": "tool_result", "tool_use_id": "t", "content": "ä".repeat(10_000) }]);
    assert!(words(&ask(long)).chars().count() < 600);
}

/// A conversation that is continued has the client's reminders in messages of their own.
#[test]
fn a_result_ends_a_conversation_though_reminders_follow_it() {
    let result = json!([{ "type": "tool_result", "tool_use_id": "t", "content": "README.md" }]);
    let reminder = json!([{ "type": "text", "text": "<system-reminder>be brief</system-reminder>" }]);
    let tools = offered(&["Bash"]);
    for role in ["user", "system"] {
        let messages = json!([
            { "role": "user", "content": "List the files" },
            { "role": "assistant", "content": [{ "type": "tool_use", "id": "t", "name": "Bash", "input": {} }] },
            { "role": "user", "content": result },
            { "role": role, "content": reminder },
        ]);
        let answer = reply(&json!({ "messages": messages, "tools": tools }));
        assert_eq!(tool(&answer), None, "{role}");
    }
    let asked_again = json!([
        { "role": "user", "content": result },
        { "role": "assistant", "content": "Here it is." },
        { "role": "user", "content": "List the files" },
        { "role": "user", "content": reminder },
    ]);
    assert_eq!(name(&reply(&json!({ "messages": asked_again, "tools": tools }))), Some("Bash"));
}

#[test]
fn a_tool_that_was_denied_is_told_as_such() {
    let failed = json!([{ "type": "tool_result", "tool_use_id": "t", "is_error": true,
        "content": [{ "type": "text", "text": "denied" }] }]);
    assert!(words(&ask(failed)).contains("did not run: denied"));
}

#[test]
fn without_tools_it_only_talks() {
    let answer = reply(&json!({ "messages": [{ "role": "user", "content": "Write a title" }] }));
    assert_eq!(tool(&answer), None);
    assert!(words(&answer).contains("scripted demo model"));
}

#[test]
fn a_conversation_is_compacted_in_words_though_tools_are_offered() {
    let asked = "CRITICAL: Respond with TEXT ONLY. Do NOT call any tools.\n\nYour task is to create a detailed summary";
    let answer = ask(json!([{ "type": "text", "text": asked }]));
    assert_eq!(tool(&answer), None);
    assert!(words(&answer).contains("<summary>"));
}

#[test]
fn a_structured_answer_has_its_form() {
    let schema = json!({ "type": "object", "properties": { "title": { "type": "string" } } });
    let by_format = reply(&json!({
        "messages": [{ "role": "user", "content": "x" }],
        "output_config": { "format": { "type": "json_schema", "schema": schema } },
    }));
    assert_eq!(words(&by_format), r#"{"title":"demo session"}"#);
    let by_tool = reply(&json!({
        "messages": [{ "role": "user", "content": "List the files" }],
        "tools": [{ "name": "Bash" }, { "name": "StructuredOutput", "input_schema": schema }],
    }));
    assert_eq!(tool(&by_tool), Some(("StructuredOutput", &json!({ "title": "demo session" }))));
}
