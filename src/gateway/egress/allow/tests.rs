use super::*;

fn list(entries: &[&str]) -> Result<AllowList, EgressError> {
    AllowList::new(&entries.iter().map(|e| (*e).to_owned()).collect::<Vec<_>>())
}

#[test]
fn an_entry_allows_what_it_says_and_nothing_more() {
    let list = list(&[
        "example.org",
        "API.example.com:8443",
        "*.crates.example:443",
        "192.0.1.7:80",
        "[2606:4700::1111]:443",
        "private:wiki.internal:8443",
        "private:10.1.2.3:5432",
    ])
    .expect("a list");
    for (host, port, rule) in [
        ("example.org", 443, Some(Rule::Public)),
        ("example.org", 80, None),
        ("www.example.org", 443, None),
        ("notexample.org", 443, None),
        ("api.example.com", 8443, Some(Rule::Public)),
        ("static.crates.example", 443, Some(Rule::Public)),
        ("a.b.crates.example", 443, Some(Rule::Public)),
        ("crates.example", 443, None),
        ("evilcrates.example", 443, None),
        ("192.0.1.7", 80, Some(Rule::Public)),
        ("2606:4700::1111", 443, Some(Rule::Public)),
        ("2606:4700:0:0::1111", 443, Some(Rule::Public)),
        ("wiki.internal", 8443, Some(Rule::Private)),
        ("10.1.2.3", 5432, Some(Rule::Private)),
        ("10.1.2.4", 5432, None),
    ] {
        assert_eq!(list.rule(host, port), rule, "{host}:{port}");
    }
    assert_eq!(AllowList::default().rule("example.org", 443), None);
}

#[test]
fn a_star_alone_allows_every_public_address() {
    let list = list(&["*:443", "private:*.corp.example:443"]).expect("a list");
    assert_eq!(list.rule("anything.example", 443), Some(Rule::Public));
    assert_eq!(list.rule("8.8.8.8", 443), Some(Rule::Public));
    assert_eq!(list.rule("git.corp.example", 443), Some(Rule::Private));
    assert_eq!(list.rule("anything.example", 22), None);
}

#[test]
fn an_entry_that_means_nothing_is_refused_with_the_remedy() {
    for bad in [
        "",
        ":443",
        "a b",
        "exa_mple..org",
        "*example.org",
        "*.*.org",
        "example.org:",
        "example.org:0",
        "example.org:65536",
        "example.org:https",
        "https://example.org",
        "user@example.org",
        "[::1",
        "[x]:1",
        "2606:4700::1111",
        "127.1",
        "0x7f.1",
        "example.org/path",
        "private:",
    ] {
        assert!(matches!(list(&[bad]), Err(EgressError::Form(_))), "{bad:?}: {:?}", list(&[bad]));
    }
    for private in ["10.0.0.1:443", "127.0.0.1:80", "[::1]:80", "192.168.1.1", "[fd12::1]:443"] {
        assert_eq!(list(&[private]), Err(EgressError::Private(private.to_owned())));
        assert!(list(&[&format!("private:{private}")]).is_ok(), "{private}");
    }
    for never in ["private:169.254.169.254:80", "0.0.0.0:80", "private:[fe80::1]:80", "224.0.0.1:80"] {
        assert_eq!(list(&[never]), Err(EgressError::Never(never.to_owned())));
    }
}

#[test]
fn addresses_are_judged_in_every_dress() {
    let cases = [
        ("8.8.8.8", Class::Public),
        ("172.15.0.1", Class::Public),
        ("172.32.0.1", Class::Public),
        ("100.63.0.1", Class::Public),
        ("2606:4700::1111", Class::Public),
        ("10.0.0.1", Class::Private),
        ("172.16.0.1", Class::Private),
        ("172.31.255.255", Class::Private),
        ("192.168.0.1", Class::Private),
        ("127.0.0.1", Class::Private),
        ("127.255.0.1", Class::Private),
        ("100.64.0.1", Class::Private),
        ("100.100.100.200", Class::Private),
        ("::1", Class::Private),
        ("fc00::1", Class::Private),
        ("fd12:3456::1", Class::Private),
        ("::ffff:10.0.0.1", Class::Private),
        ("::ffff:127.0.0.1", Class::Private),
        ("::ffff:8.8.8.8", Class::Public),
        ("64:ff9b::10.0.0.1", Class::Private),
        ("64:ff9b::8.8.8.8", Class::Public),
        ("2002:7f00:1::", Class::Private),
        ("0.0.0.0", Class::Never),
        ("169.254.169.254", Class::Never),
        ("::ffff:169.254.169.254", Class::Never),
        ("64:ff9b::169.254.169.254", Class::Never),
        ("2002:a9fe:a9fe::", Class::Never),
        ("fd00:ec2::254", Class::Never),
        ("168.63.129.16", Class::Never),
        ("224.0.0.1", Class::Never),
        ("255.255.255.255", Class::Never),
        ("198.18.0.1", Class::Never),
        ("::", Class::Never),
        ("::8.8.8.8", Class::Never),
        ("fe80::1", Class::Never),
        ("fec0::1", Class::Never),
        ("ff02::1", Class::Never),
        ("2001:db8::1", Class::Never),
        ("2001:0:1::1", Class::Never),
        ("64:ff9b:1::1", Class::Never),
    ];
    for (address, expected) in cases {
        assert_eq!(class(address.parse().expect("an address")), expected, "{address}");
    }
}
