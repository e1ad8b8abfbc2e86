use super::*;
use crate::{
    api::Session,
    lifecycle::Phase,
    spec::{Profile, Spec, User},
};

mod usage;

async fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().expect("a folder");
    let store = Store::open(&dir.path().join("s.db")).await.expect("a store");
    (dir, store)
}

fn session(email: &str) -> (Session, Spec) {
    let user = User { name: "Ada".to_owned(), email: email.to_owned() };
    let spec = Spec {
        user: user.clone(),
        team: None,
        profile_name: "demo".to_owned(),
        profile: Profile::default(),
        workspace: None,
        own_key: false,
        cols: 80,
        rows: 24,
    };
    let view = Session {
        id: SessionId::new(),
        user,
        team: None,
        profile: "demo".to_owned(),
        credential: spec.profile.credential,
        image: String::new(),
        program: Vec::new(),
        workspace: None,
        phase: Phase::Running,
        reason: None,
        exit_code: None,
        created_at: crate::clock::timestamp(crate::clock::now()),
        started_at: None,
        ended_at: None,
        expires_at: None,
        active_at: None,
        cols: 80,
        rows: 24,
        title: String::new(),
        viewers: 0,
        warning: None,
        recorded_bytes: 0,
        totals: crate::api::Totals::default(),
        completeness: None,
    };
    (view, spec)
}

async fn put(store: &Store, view: &Session, spec: &Spec, volume: &str) {
    store.insert(NewSession { view, spec, volume }).await.expect("inserted");
}

#[tokio::test]
async fn a_session_is_live_until_it_has_ended() {
    let (_dir, store) = store().await;
    let (mut view, spec) = session("ada@example.org");
    put(&store, &view, &spec, "v").await;
    assert_eq!(store.live().await.expect("ids"), [view.id]);
    assert_eq!(store.count_live("ada@example.org").await.expect("counts"), (1, 1));
    assert_eq!(store.count_live("bob@example.org").await.expect("counts"), (1, 0));
    assert_eq!(store.spec(view.id).await.expect("a row"), Some(spec));
    view.phase = Phase::Ended;
    view.ended_at = Some(view.created_at);
    store.set_ended(&view, None).await.expect("stored");
    assert!(store.live().await.expect("ids").is_empty());
    // A view that comes late does not bring it back to life.
    let late = Session { phase: Phase::Running, ..view.clone() };
    store.save_view(&late).await.expect("ignored");
    assert_eq!(store.view(view.id).await.expect("a row"), Some(view));
}

#[tokio::test]
async fn what_is_written_is_there_after_opening_again() {
    let (dir, store) = store().await;
    let (view, spec) = session("ada@example.org");
    put(&store, &view, &spec, "v").await;
    let instance = store.instance_id().await.expect("an id");
    store.close().await;
    let store = Store::open(&dir.path().join("s.db")).await.expect("opened again");
    assert_eq!(store.instance_id().await.expect("an id"), instance);
    assert_eq!(store.views().await.expect("rows"), [view]);
}

#[tokio::test]
async fn a_prefix_finds_exactly_its_sessions() {
    let (_dir, store) = store().await;
    let (a, spec) = session("a@b");
    let (b, _) = session("a@b");
    put(&store, &a, &spec, "a").await;
    put(&store, &b, &spec, "b").await;
    let id = a.id.to_string();
    assert_eq!(store.find_prefix(&id, 9).await.expect("ids"), [a.id]);
    assert_eq!(store.find_prefix(&id[..4], 9).await.expect("ids").len(), 2);
    assert!(store.find_prefix("ffff", 9).await.expect("ids").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invite_is_used_exactly_as_often_as_it_says() {
    let (_dir, store) = store().await;
    store.insert_invite("h", "demo", 7, 1000).await.expect("inserted");
    let takers: Vec<_> = (0..50)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.take_invite("h", 1).await.expect("asked").is_some() })
        })
        .collect();
    let mut taken = 0;
    for taker in takers {
        taken += usize::from(taker.await.expect("joined"));
    }
    assert_eq!(taken, 7);
    assert_eq!(store.peek_invite("h", 1).await.expect("asked"), None);
    store.give_back_invite("h").await.expect("given back");
    assert!(store.take_invite("h", 2000).await.expect("asked").is_none(), "it has expired");
    assert!(store.take_invite("h", 1).await.expect("asked").is_some());
}

#[tokio::test]
async fn a_workspace_is_one_sessions_at_a_time_and_its_users_alone() {
    let (_dir, store) = store().await;
    let (mut first, spec) = session("ada@example.org");
    first.workspace = Some("w".to_owned());
    let volume = store.claim_workspace("w", "ada@example.org", first.id).await.expect("asked").expect("free");
    put(&store, &first, &spec, &volume).await;
    let again = store.claim_workspace("w", "ada@example.org", SessionId::new()).await.expect("asked");
    assert!(again.is_err(), "a live session holds it");
    let other = store.claim_workspace("w", "bob@example.org", SessionId::new()).await.expect("asked");
    assert_ne!(other.expect("another user's is another"), volume);
    first.ended_at = Some(first.created_at);
    store.set_ended(&first, None).await.expect("ended");
    let next = store.claim_workspace("w", "ada@example.org", SessionId::new()).await.expect("asked");
    assert_eq!(next.expect("free again"), volume);
}

#[tokio::test]
async fn a_new_token_logs_browsers_out_and_a_purge_takes_seats_and_cursors_along() {
    let (_dir, store) = store().await;
    store.insert_browser_session("b", 1000).await.expect("inserted");
    assert!(store.has_browser_session("b", 1).await.expect("asked"));
    assert!(!store.has_browser_session("b", 1000).await.expect("asked"), "it has expired");
    store.set_admin_token_hash("t").await.expect("set");
    assert!(!store.has_browser_session("b", 1).await.expect("asked"));
    let (view, spec) = session("a@b");
    put(&store, &view, &spec, "v").await;
    store.insert_seat("s", view.id).await.expect("inserted");
    store.set_cursor("d", view.id, 7).await.expect("set");
    assert_eq!(store.session_of_seat("s").await.expect("asked"), Some(view.id));
    let unsent = Unsent { id: view.id, cursor: 7, ended: false };
    assert_eq!(store.unsent("d").await.expect("asked"), [unsent]);
    assert_eq!(store.unsent("e").await.expect("asked"), [Unsent { cursor: 0, ..unsent }]);
    store.set_cursor("d", view.id, ALL_SENT).await.expect("set");
    assert_eq!(store.unsent("d").await.expect("asked"), []);
    store.delete(view.id).await.expect("deleted");
    assert_eq!(store.session_of_seat("s").await.expect("asked"), None);
    store.set_cursor("d", view.id, 9).await.expect("ignored");
    assert_eq!(store.unsent("d").await.expect("asked"), []);
}

#[tokio::test]
async fn sums_and_their_cursors_are_kept_together_and_by_destination() {
    let (_dir, store) = store().await;
    let (view, spec) = session("a@b");
    put(&store, &view, &spec, "v").await;
    let sums = |state: &str| Sums {
        series: vec![("s".to_owned(), state.to_owned())],
        parts: vec![(view.id, state.to_owned())],
        time: 7,
    };
    for state in ["1", "2"] {
        let step = SumsStep { sums: sums(state), cursors: vec![(view.id, 5)], ..SumsStep::default() };
        store.keep_sums("d", "d/metrics", &step).await.expect("kept");
        assert_eq!(store.sums("d").await.expect("read"), sums(state));
    }
    assert_eq!(store.sums("e").await.expect("read"), Sums::default());
    for (terms, forgotten) in [("old", false), ("old", false), ("new", true), ("new", false)] {
        assert_eq!(store.keep_under("d", terms).await.expect("kept"), forgotten, "{terms}");
    }
    assert!(store.sums("d").await.expect("read").series.is_empty());
    let again = SumsStep { sums: sums("2"), cursors: vec![(view.id, 5)], ..SumsStep::default() };
    store.keep_sums("d", "d/metrics", &again).await.expect("kept");
    assert_eq!(store.unsent("d/metrics").await.expect("asked")[0].cursor, 5);
    assert_eq!(store.unsent("d").await.expect("asked")[0].cursor, 0);
    let step = SumsStep { over: vec![view.id], cursors: vec![(view.id, ALL_SENT)], ..SumsStep::default() };
    store.keep_sums("d", "d/metrics", &step).await.expect("kept");
    assert_eq!(store.sums("d").await.expect("read"), Sums { parts: Vec::new(), time: 0, ..sums("2") });
    let step = SumsStep { gone: vec!["s".to_owned()], ..SumsStep::default() };
    store.keep_sums("d", "d/metrics", &step).await.expect("kept");
    assert_eq!(store.sums("d").await.expect("read"), Sums::default());
    assert_eq!(store.unsent("d/metrics").await.expect("asked"), []);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("s.db");
    std::fs::write(&path, vec![b'x'; 8192]).expect("written");
    assert!(matches!(Store::open(&path).await, Err(StoreError::Corrupt { .. })));
}
