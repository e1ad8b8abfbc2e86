//! The demo model: a small script that speaks the model API, so that everything can be tried with no key and
//! no network. The client stays the real one.
//!
//! A prompt is answered with a word and a tool, chosen from the prompt; the tool's result with an answer that
//! quotes it. The same request gets the same answer. Token counts come from lengths, and are split between
//! cache and input as a conversation's would be, so that dashboards and budgets have something to show.

use axum::{
    Json,
    body::Body,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use serde_json::{Value, json};

use super::model::call::Call;

mod script;

use script::{Block, Reply};

/// Characters of a token, roughly; the demo's counts come from lengths.
const CHARS_PER_TOKEN: usize = 4;

/// Answers a request of the model API.
pub(super) fn answer(parts: &Parts, body: &Bytes, call: Option<Call>) -> Response {
    let path = parts.uri.path();
    if path == "/v1/messages/count_tokens" {
        return Json(json!({ "input_tokens": tokens(body.len()) })).into_response();
    }
    if path == "/v1/models" && parts.method == Method::GET {
        return Json(models()).into_response();
    }
    let Some(call) = call else {
        let message = "The demo model does not know this request.";
        let error = json!({ "type": "error", "error": { "type": "not_found_error", "message": message } });
        return (StatusCode::NOT_FOUND, Json(error)).into_response();
    };
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    let reply = script::reply(&request);
    let id = identity(body);
    let model = request.get("model").and_then(Value::as_str).unwrap_or("demo").to_owned();
    let message = Message { id, model, input: Input::of(&request, body.len()), reply };
    let streamed = request.get("stream").and_then(Value::as_bool).unwrap_or(false);
    let (content_type, text) = if streamed {
        ("text/event-stream", message.events())
    } else {
        ("application/json", message.object().to_string())
    };
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Ok(id) = HeaderValue::from_str(&format!("req_demo_{}", message.id)) {
        headers.insert("request-id", id);
    }
    let pieces = stream::iter([Ok::<_, std::convert::Infallible>(Bytes::from(text))]);
    let body = Body::from_stream(call.follow(StatusCode::OK, &headers, pieces));
    let mut response = Response::new(body);
    *response.headers_mut() = headers;
    response
}

/// The list of models, in the API's shape: one, so that whoever asks is told what this is.
fn models() -> Value {
    let model = json!({
        "type": "model",
        "id": "claude-demo",
        "display_name": "Scripted demo model",
        "created_at": "2026-01-01T00:00:00Z",
    });
    json!({ "data": [model], "has_more": false, "first_id": "claude-demo", "last_id": "claude-demo" })
}

/// What a request's tokens are.
struct Input {
    new: usize,
    written: usize,
    read: usize,
}

impl Input {
    /// All but the last message would be in the cache, if the request asks for one: written by the first
    /// request of a conversation, and read by those that follow.
    fn of(request: &Value, length: usize) -> Input {
        let messages = request["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
        let last = messages.last().map_or(0, |m| m.to_string().len());
        let kept = tokens(length.saturating_sub(last));
        let new = tokens(length).saturating_sub(kept);
        match (has_key(request, "cache_control"), messages.len() > 1) {
            (false, _) => Input { new: tokens(length), written: 0, read: 0 },
            (true, false) => Input { new, written: kept, read: 0 },
            (true, true) => Input { new, written: 0, read: kept },
        }
    }
}

fn has_key(value: &Value, key: &str) -> bool {
    match value {
        Value::Object(fields) => fields.contains_key(key) || fields.values().any(|v| has_key(v, key)),
        Value::Array(items) => items.iter().any(|v| has_key(v, key)),
        _ => false,
    }
}

struct Message {
    id: String,
    model: String,
    input: Input,
    reply: Reply,
}

impl Message {
    fn stop_reason(&self) -> &'static str {
        let tool = self.reply.blocks.iter().any(|b| matches!(b, Block::Tool { .. }));
        if tool { "tool_use" } else { "end_turn" }
    }

    fn output_tokens(&self) -> usize {
        self.reply.blocks.iter().map(|b| tokens(b.content().to_string().len())).sum()
    }

    fn head(&self) -> Value {
        json!({
            "id": format!("msg_demo_{}", self.id),
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": [],
            "stop_reason": null,
            "stop_sequence": null,
            "usage": {
                "input_tokens": self.input.new,
                "cache_creation_input_tokens": self.input.written,
                "cache_read_input_tokens": self.input.read,
                "output_tokens": 1,
            },
        })
    }

    /// The whole message, for a request that is not streamed.
    fn object(&self) -> Value {
        let mut message = self.head();
        message["content"] =
            self.reply.blocks.iter().enumerate().map(|(n, b)| b.whole(&self.tool_id(n))).collect();
        message["stop_reason"] = json!(self.stop_reason());
        message["usage"]["output_tokens"] = json!(self.output_tokens());
        message
    }

    /// The message as server-sent events, in the order that the API sends them.
    fn events(&self) -> String {
        let mut text = String::new();
        let mut event = |data: Value| {
            let kind = data["type"].as_str().unwrap_or_default().to_owned();
            text.push_str(&format!("event: {kind}\ndata: {data}\n\n"));
        };
        event(json!({ "type": "message_start", "message": self.head() }));
        event(json!({ "type": "ping" }));
        for (index, block) in self.reply.blocks.iter().enumerate() {
            let begin = block.begin(&self.tool_id(index));
            event(json!({ "type": "content_block_start", "index": index, "content_block": begin }));
            for delta in block.deltas() {
                event(json!({ "type": "content_block_delta", "index": index, "delta": delta }));
            }
            event(json!({ "type": "content_block_stop", "index": index }));
        }
        event(json!({
            "type": "message_delta",
            "delta": { "stop_reason": self.stop_reason(), "stop_sequence": null },
            "usage": { "output_tokens": self.output_tokens() },
        }));
        event(json!({ "type": "message_stop" }));
        text
    }

    fn tool_id(&self, index: usize) -> String {
        format!("toolu_demo_{}_{index}", self.id)
    }
}

fn tokens(chars: usize) -> usize {
    chars.div_ceil(CHARS_PER_TOKEN)
}

/// Names an answer by its request: stable, and different for each turn.
fn identity(body: &[u8]) -> String {
    crate::keys::hex(&blake3::hash(body).as_bytes()[..8])
}
