//! Token counts, read from an answer as it passes: a stream of server-sent events, or one JSON object.
//!
//! In a stream, `message_start` carries the input's counts and each `message_delta` the output's so far; later
//! counts replace earlier ones (the API's documentation of streaming messages). The last `message_delta` is
//! nearly the stream's end, so of a stream that breaks before it the output is estimated from what was said:
//! else whoever hangs up just before the end would pay for no output.

use serde::Deserialize;

use crate::event;

/// The longest line or object that is looked into; of a longer one the output is estimated.
const LONGEST: usize = 1 << 20; // bytes
/// Bytes of a token in an estimate: less than is usual, so that it is rather too high than too low.
const BYTES_PER_TOKEN: u64 = 3;

/// Reads usage on the side.
pub(super) struct Usage {
    events: bool,
    line: Vec<u8>,
    skipping: bool,
    counts: Counts,
    model: Option<String>,
    /// Bytes of content seen in the stream.
    said: u64,
    /// Whether the stream itself has told its output.
    told: bool,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct Counts {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_creation: Option<Written>,
}

/// What was written to the cache, by how long it stays.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct Written {
    ephemeral_1h_input_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct Message {
    model: Option<String>,
    usage: Option<Counts>,
}

#[derive(Deserialize)]
struct Event {
    message: Option<Message>,
    usage: Option<Counts>,
    delta: Option<Delta>,
}

/// A piece of a content block; of the kinds that there are, each has one of these.
#[derive(Deserialize)]
struct Delta {
    text: Option<String>,
    thinking: Option<String>,
    partial_json: Option<String>,
    /// Of thinking that is not shown; about as long.
    signature: Option<String>,
}

impl Delta {
    fn len(&self) -> u64 {
        let pieces = [&self.text, &self.thinking, &self.partial_json, &self.signature];
        pieces.into_iter().flatten().map(|piece| piece.len() as u64).sum()
    }
}

impl Usage {
    /// For an answer that is a stream of events, or one JSON object.
    pub(super) fn new(events: bool) -> Usage {
        Usage {
            events,
            line: Vec::new(),
            skipping: false,
            counts: Counts::default(),
            model: None,
            said: 0,
            told: false,
        }
    }

    /// Reads on.
    pub(super) fn read(&mut self, mut bytes: &[u8]) {
        if !self.events {
            self.said += bytes.len() as u64;
            self.keep(bytes);
            return;
        }
        while let Some(end) = bytes.iter().position(|b| *b == b'\n') {
            self.keep(&bytes[..end]);
            self.end_line();
            bytes = &bytes[end + 1..];
        }
        self.keep(bytes);
    }

    /// Whether what was read so far tells what the input costs, and from here on the output can be estimated.
    pub(super) fn is_told(&self) -> bool {
        self.events && self.counts.input_tokens.is_some()
    }

    /// Writes what was read into the event.
    pub(super) fn tell(&mut self, event: &mut event::Model) {
        if !self.events
            && !self.skipping
            && let Ok(message) = serde_json::from_slice::<Message>(&self.line)
        {
            self.message(message);
        }
        event.input_tokens = self.counts.input_tokens.unwrap_or(0);
        // An object that could be read has told it.
        let is_told = self.told || (!self.events && !self.skipping);
        let estimate = if is_told { 0 } else { self.said.div_ceil(BYTES_PER_TOKEN) };
        event.output_tokens = self.counts.output_tokens.unwrap_or(0).max(estimate);
        event.cache_read_tokens = self.counts.cache_read_input_tokens.unwrap_or(0);
        event.cache_creation_tokens = self.counts.cache_creation_input_tokens.unwrap_or(0);
        let for_an_hour = self.counts.cache_creation.and_then(|written| written.ephemeral_1h_input_tokens);
        event.cache_creation_1h_tokens = for_an_hour.unwrap_or(0).min(event.cache_creation_tokens);
        if let Some(model) = self.model.take() {
            event.model = model;
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.skipping || self.line.len() + bytes.len() > LONGEST {
            self.skipping = true;
            self.line = Vec::new();
        } else {
            self.line.extend_from_slice(bytes);
        }
    }

    fn end_line(&mut self) {
        let data = self.line.strip_prefix(b"data:").map(<[u8]>::trim_ascii);
        if let Some(Ok(event)) = data.map(serde_json::from_slice::<Event>) {
            if let Some(message) = event.message {
                self.message(message);
            }
            self.said += event.delta.map_or(0, |d| d.len());
            self.told |= event.usage.is_some_and(|u| u.output_tokens.is_some());
            self.count(event.usage);
        }
        self.line.clear();
        self.skipping = false;
    }

    fn message(&mut self, message: Message) {
        self.model = message.model.map(|m| m.chars().take(128).collect());
        self.count(message.usage);
    }

    fn count(&mut self, counts: Option<Counts>) {
        let Some(new) = counts else { return };
        let old = self.counts;
        self.counts = Counts {
            input_tokens: new.input_tokens.or(old.input_tokens),
            output_tokens: new.output_tokens.or(old.output_tokens),
            cache_read_input_tokens: new.cache_read_input_tokens.or(old.cache_read_input_tokens),
            cache_creation_input_tokens: new.cache_creation_input_tokens.or(old.cache_creation_input_tokens),
            cache_creation: new.cache_creation.or(old.cache_creation),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "event: message_start\n\
        data: {\"type\":\"message_start\",\"message\":{\"model\":\"m-1\",\"usage\":{\"input_tokens\":10,\"cache_read_input_tokens\":5,\"cache_creation_input_tokens\":9,\"cache_creation\":{\"ephemeral_5m_input_tokens\":7,\"ephemeral_1h_input_tokens\":2},\"output_tokens\":1}}}\n\n\
        event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"hi\"}}\n\n\
        event: message_delta\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":42}}\n\n";

    fn read(events: bool, pieces: &[&[u8]]) -> event::Model {
        let mut usage = Usage::new(events);
        pieces.iter().for_each(|p| usage.read(p));
        let mut event = event::Model::default();
        usage.tell(&mut event);
        event
    }

    #[test]
    fn a_stream_is_counted_however_it_is_cut() {
        for cut in 0..STREAM.len() {
            let (a, b) = STREAM.as_bytes().split_at(cut);
            let event = read(true, &[a, b]);
            assert_eq!(
                (event.input_tokens, event.output_tokens, event.cache_read_tokens),
                (10, 42, 5),
                "cut at {cut}"
            );
            assert_eq!((event.cache_creation_tokens, event.cache_creation_1h_tokens), (9, 2));
            assert_eq!(event.model, "m-1");
        }
    }

    #[test]
    fn a_stream_that_breaks_before_its_count_is_estimated() {
        let text = "x".repeat(300);
        let delta = format!(
            "data: {{\"type\":\"content_block_delta\",\"delta\":{{\"type\":\"text_delta\",\"text\":\"{text}\"}}}}\n"
        );
        let (start, _) = STREAM.split_at(STREAM.find("event: content").expect("a delta"));
        let broken = read(true, &[start.as_bytes(), delta.as_bytes()]);
        assert_eq!((broken.input_tokens, broken.output_tokens), (10, 100));
        let whole = read(true, &[delta.as_bytes(), STREAM.as_bytes()]);
        assert_eq!(whole.output_tokens, 42, "what the stream says itself is right");
    }

    #[test]
    fn an_object_is_counted() {
        let event = read(false, &[br#"{"model":"m","usage":{"input_tok"#, br#"ens":3,"output_tokens":4}}"#]);
        assert_eq!((event.input_tokens, event.output_tokens), (3, 4));
    }

    #[test]
    fn an_endless_line_is_let_pass() {
        let long = vec![b'x'; LONGEST + 1];
        let event = read(true, &[b"data: \"usage\"", &long, b"\n", STREAM.as_bytes()]);
        assert_eq!(event.output_tokens, 42);
    }
}
