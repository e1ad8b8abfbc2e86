#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::{json, value::to_raw_value};

use super::*;
use crate::{
    api::Totals,
    lifecycle::{Phase, Reason},
    spec::{Credential, User},
};

fn session() -> api::Session {
    let user = User::new("Ada", "ada@example.org").unwrap();
    let at = |s| jiff::Timestamp::from_second(s).unwrap();
    api::Session {
        id: SessionId::new(),
        user,
        team: Some("lab".to_owned()),
        profile: "demo".to_owned(),
        credential: Credential::Demo,
        image: "i".to_owned(),
        program: vec!["claude".to_owned()],
        workspace: None,
        phase: Phase::Ended,
        reason: Some(Reason::Idle),
        exit_code: Some(143),
        created_at: at(100),
        started_at: Some(at(101)),
        ended_at: Some(at(200)),
        expires_at: None,
        active_at: None,
        cols: 80,
        rows: 24,
        title: String::new(),
        viewers: 0,
        warning: None,
        recorded_bytes: 7,
        totals: Totals { turns: 3, ..Totals::default() },
        completeness: Some(1.0),
    }
}

fn frame(seq: u64, kind: Kind, payload: &impl serde::Serialize) -> Entry {
    Entry {
        seq,
        time: 1_000_000 * seq,
        origin: 0,
        kind,
        payload: serde_json::to_vec(payload).unwrap().into(),
    }
}

fn spans(request: &Bytes) -> Vec<Span> {
    let request = ExportTraceServiceRequest::decode(request.clone()).unwrap();
    request.resource_spans.into_iter().flat_map(|r| r.scope_spans).flat_map(|s| s.spans).collect()
}

fn said<'a>(span: &'a Span, key: &str) -> Option<&'a Value> {
    span.attributes.iter().find(|a| a.key == key)?.value.as_ref()?.value.as_ref()
}

#[test]
fn what_the_gateway_saw_hangs_below_the_session_or_the_clients_own_span() {
    let session = session();
    let mut of = Spans::new(&session, "me");
    let call = event::Model {
        model: "m-1".to_owned(),
        status: 200,
        duration_ms: 500,
        output_tokens: 9,
        ..Default::default()
    };
    of.see(&frame(1, Kind::Model, &call));
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let refused = event::Model {
        traceparent: Some(parent.to_owned()),
        refused: Some("budget".to_owned()),
        status: 403,
        ..call
    };
    of.see(&frame(2, Kind::Model, &refused));
    let hook = json!({"event": "PreToolUse", "tool": "Bash", "tool_use_id": "t1", "decision": "deny", "reason": "no", "input": {}});
    of.see(&frame(3, Kind::Hook, &hook));
    of.see(&frame(4, Kind::Egress, &json!({"host": "h", "port": 443, "allowed": true, "sent_bytes": 5})));
    let made = spans(&of.take().unwrap());
    assert!(of.take().is_none());
    let names: Vec<&str> = made.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["chat m-1", "chat m-1", "hook PreToolUse", "egress h:443"]);
    for span in [&made[0], &made[2], &made[3]] {
        assert_eq!(
            (&span.trace_id[..], &span.parent_span_id[..]),
            (&session.id.trace_id()[..], &session.id.span_id()[..])
        );
    }
    assert_eq!((made[0].start_time_unix_nano, made[0].end_time_unix_nano), (500_000_000, 1_000_000_000));
    assert_eq!(said(&made[0], "gen_ai.usage.output_tokens"), Some(&Value::IntValue(9)));
    assert!(made[0].status.is_none() && made[3].status.is_none());
    assert_eq!(made[1].trace_id[..2], [0x0a, 0xf7]);
    assert_eq!(made[1].parent_span_id[..2], [0xb7, 0xad]);
    assert!(made[1].status.as_ref().unwrap().message.contains("budget"));
    assert_eq!(made[2].status.as_ref().unwrap().message, "no");
    assert_eq!(said(&made[2], "gen_ai.tool.call.id"), Some(&Value::StringValue("t1".to_owned())));
    // The same frames make the same spans.
    let mut again = Spans::new(&session, "me");
    again.see(&frame(3, Kind::Hook, &hook));
    assert_eq!(spans(&again.take().unwrap())[0], made[2]);
}

#[test]
fn a_question_to_an_mcp_server_and_its_answer_are_a_span() {
    let mut of = Spans::new(&session(), "me");
    let mcp = |direction: &str, message: serde_json::Value| event::Mcp {
        server: "files".to_owned(),
        direction: direction.to_owned(),
        message: to_raw_value(&message).unwrap(),
    };
    let ask = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "read"}});
    of.see(&frame(1, Kind::Mcp, &mcp("to_server", ask)));
    of.see(&frame(2, Kind::Mcp, &mcp("to_client", json!({"method": "notifications/progress"}))));
    of.see(&frame(3, Kind::Mcp, &mcp("to_client", json!({"id": 8, "result": {}}))));
    of.see(&frame(4, Kind::Mcp, &mcp("to_server", json!("no JSON-RPC"))));
    assert!(of.take().is_none());
    of.see(&frame(5, Kind::Mcp, &mcp("to_client", json!({"id": 7, "error": {"code": -1}}))));
    let made = spans(&of.take().unwrap());
    assert_eq!((made.len(), made[0].name.as_str()), (1, "mcp tools/call read"));
    assert_eq!((made[0].start_time_unix_nano, made[0].end_time_unix_nano), (1_000_000_000, 5_000_000_000));
    assert!(made[0].status.is_some());
    for n in 0..2 * QUESTIONS as u64 {
        of.see(&frame(9, Kind::Mcp, &mcp("to_server", json!({"id": n, "method": "ping", "params": [1]}))));
    }
    assert_eq!(of.questions.len(), QUESTIONS);
}

#[test]
fn the_session_as_a_whole_links_to_turns_with_traces_of_their_own() {
    let session = session();
    let mut turns = Turns::new(session.id);
    let span = |trace: &[u8], parent: &[u8]| Span {
        trace_id: trace.to_vec(),
        span_id: vec![1; 8],
        parent_span_id: parent.to_vec(),
        ..Span::default()
    };
    let own = vec![span(&[7; 16], &[]), span(&[7; 16], &[2; 8]), span(&session.id.trace_id(), &[])];
    let payload = request(Resource::default(), own);
    turns.see(&Entry { seq: 1, time: 1, origin: 0, kind: Kind::Traces, payload });
    let many = (0..200).map(|n| span(&[n; 16], &[])).collect();
    let payload = request(Resource::default(), many);
    let mut more = Turns::new(session.id);
    more.see(&Entry { seq: 1, time: 1, origin: 0, kind: Kind::Traces, payload });
    let of = Spans::new(&session, "me");
    let root = &spans(&of.root(&session, turns))[0];
    assert_eq!((root.name.as_str(), &root.trace_id[..]), ("session", &session.id.trace_id()[..]));
    assert_eq!((root.start_time_unix_nano, root.end_time_unix_nano), (100_000_000_000, 200_000_000_000));
    assert_eq!(root.links.iter().map(|l| l.trace_id[0]).collect::<Vec<_>>(), [7]);
    assert_eq!(said(root, "sandbox.end_reason"), Some(&Value::StringValue("idle".to_owned())));
    assert_eq!(said(root, "sandbox.turns"), Some(&Value::IntValue(3)));
    assert_eq!(root.status.as_ref().unwrap().message, Reason::Idle.phrase());
    assert_eq!(spans(&of.root(&session, more))[0].links.len(), 128);
    let parts: Vec<String> = session.id.traceparent().split('-').map(str::to_owned).collect();
    assert_eq!(parse(&session.id.traceparent()).unwrap().0, session.id.trace_id());
    assert_eq!((parts[0].as_str(), parts[2].len(), parts[3].as_str()), ("00", 16, "01"));
    for wrong in [
        "",
        "00",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-xaf7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-é-b-01",
    ] {
        assert!(parse(wrong).is_none(), "{wrong}");
    }
}
