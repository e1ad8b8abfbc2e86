use proptest::{collection::vec, prelude::*, sample::select};

use super::*;

fn redacted(text: &str) -> String {
    String::from_utf8(Redactor::new(&[]).redact(text.as_bytes()).into_owned()).expect("text stays text")
}

/// Put together here so that no scanner takes this file for a leak.
fn samples() -> Vec<(&'static str, String)> {
    let long = "Ab3dEf9hIjKlMn0pQrStUvWxYz12345678901234";
    vec![
        ("anthropic-key", format!("sk-ant-{}", "api03-abcDEF_123-456xyz")),
        ("api-key", format!("sk-{}", "proj-abcDEF123456789012")),
        ("aws-key", format!("AKIA{}", "IOSFODNN7EXAMPLE")),
        ("github-token", format!("ghp_{long}")),
        ("github-token", format!("github_pat_{long}")),
        ("slack-token", format!("xoxb-{}", "123456789012-abcdef")),
        ("google-key", format!("AIza{}", &long[..35])),
        ("stripe-key", format!("sk_live_{}", &long[..20])),
        ("package-token", format!("npm_{}", &long[..36])),
        ("jwt", format!("eyJ{0}.eyJ{0}.{0}", &long[..20])),
        (
            "private-key",
            format!(
                "-----BEGIN RSA PRIVATE KEY-----\r\nMIIE{long}\r\n{long}==\r\n-----END RSA PRIVATE KEY-----"
            ),
        ),
    ]
}

#[test]
fn every_kind_is_masked_and_what_stands_around_stays() {
    for (kind, secret) in samples() {
        let out = redacted(&format!("before \"{secret}\" after"));
        let mask = format!("[REDACTED:{kind}]");
        assert!(out.starts_with(&format!("before \"{mask}")) && out.ends_with("\" after"), "{secret}: {out}");
        assert!(!out.contains(&secret));
    }
}

#[test]
fn of_a_header_only_the_token_is_masked() {
    assert_eq!(
        redacted("Authorization: Bearer abcdef0123456789abcd\r\n"),
        "Authorization: Bearer [REDACTED:bearer]\r\n"
    );
    let aws = redacted("AWS_SECRET_ACCESS_KEY='Ab3dEf9hIjKlMn0pQrStUvWxYz12345678901234'");
    assert_eq!(aws, "AWS_SECRET_ACCESS_KEY='[REDACTED:aws-secret]'");
    let other = redacted("OTEL_EXPORTER_OTLP_HEADERS=Authorization=Bearer%20abcdef0123456789abcd");
    assert_eq!(other, "OTEL_EXPORTER_OTLP_HEADERS=Authorization=Bearer%20[REDACTED:bearer]");
}

#[test]
fn ordinary_words_and_placeholders_stay() {
    let words = [
        "a task-force-with-a-very-long-name-indeed works",
        "sk-short AKIA eyJhbGciOi.x Bearer of bad news",
        "sk-ant-sandbox-0123456789abcdef Bearer sandbox-0123456789abcdef",
        "-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----",
    ];
    for text in words {
        assert_eq!(redacted(text), text);
    }
}

#[test]
fn colours_do_not_hide_a_secret_and_survive_it() {
    let out = redacted("\x1b[1msk-ant-\x1b[32mapi03-abcDEF123456\x1b[0m789 end");
    assert_eq!(out, "\x1b[1m[REDACTED:anthropic-key]\x1b[32m\x1b[0m end");
    assert_eq!(redacted("\x1b[0msk-abcDEF123456789012345\x1b[0m"), "\x1b[0m[REDACTED:api-key]\x1b[0m");
}

#[test]
fn a_value_is_found_across_a_line_end_and_escaped_in_json() {
    let redactor = Redactor::new(&["pass\"word-0001".to_owned(), "short".to_owned()]);
    let masked = |text: &str| String::from_utf8_lossy(&redactor.redact(text.as_bytes())).into_owned();
    assert_eq!(masked("x pass\"wo\r\nrd-0001 short"), "x [REDACTED:value]\r\n short");
    assert_eq!(masked(r#"{"a":"pass\"word-0001"}"#), r#"{"a":"[REDACTED:value]"}"#);
}

#[test]
fn overlapping_values_leave_nothing_of_either() {
    let redactor = Redactor::new(&["abcdefghij".to_owned(), "ghijklmnop".to_owned()]);
    assert_eq!(&*redactor.redact(b"-abcdefghijklmnop-"), b"-[REDACTED:value]-");
}

#[test]
fn a_key_without_an_end_is_masked_as_far_as_it_goes() {
    let out = redacted("-----BEGIN PRIVATE KEY-----\nMIIEabcdef\nABC= and more. Text");
    assert_eq!(out, "[REDACTED:private-key]\n\n and more. Text");
}

#[test]
fn a_stream_holds_little_back() {
    let mut stream = Redactor::new(&[]).stream();
    let given: usize = (0..100).map(|_| stream.push(&[b'.'; 1000]).len()).sum();
    assert!(given > 100_000 - 3 * HELD, "{given}");
    assert_eq!(given + stream.finish().len(), 100_000);
}

fn noise() -> impl Strategy<Value = Vec<u8>> {
    let pieces = [
        "text ",
        "\x1b[31m",
        "\r\n",
        "\x1b[2K",
        "sk-",
        "Bearer ",
        "—",
        "\x1b]0;t\x07",
        "a",
        "-----BEGIN PRIVATE KEY-----",
    ];
    vec(prop_oneof![8 => select(pieces.map(|p| p.as_bytes().to_vec()).to_vec()), 1 => vec(any::<u8>(), 0..5), 1 => Just(vec![b' '; 3000])], 0..12)
        .prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_value_comes_out_however_it_is_cut(
        value in "[a-z0-9\"/+=-]{8,60}",
        around in vec(noise(), 1..6),
        cuts in vec(1usize..5000, 1..12),
    ) {
        let mut bytes = around.join(value.as_bytes());
        bytes.extend_from_slice(value.as_bytes());
        let redactor = Redactor::new(std::slice::from_ref(&value));
        let mut stream = redactor.stream();
        let mut out = Vec::new();
        let mut rest = &bytes[..];
        for cut in cuts.iter().cycle() {
            let (piece, left) = rest.split_at((*cut).min(rest.len()));
            out.extend(stream.push(piece));
            rest = left;
            if rest.is_empty() { break }
        }
        out.extend(stream.finish());
        prop_assert!(memchr::memmem::find(&out, value.as_bytes()).is_none());
        let whole = redactor.redact(&bytes);
        prop_assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(&whole));
    }

    #[test]
    fn what_holds_no_secret_is_not_touched(words in vec("[a-z]{1,7}", 0..200)) {
        let text = words.join(" ");
        prop_assert!(matches!(Redactor::new(&["correct-horse".to_owned()]).redact(text.as_bytes()), Cow::Borrowed(_)));
    }
}
