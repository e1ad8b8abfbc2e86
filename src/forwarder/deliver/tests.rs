use super::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn patience_ends_with_a_request_that_fails_while_others_arrive() {
    let start = Instant::now();
    let mut patience = Patience::default();
    assert!(!patience.failed(start, Some(start - SECOND)), "that was before");
    for n in 1..=STRIKES {
        assert!(!patience.is_out());
        assert!(patience.failed(start + n * SECOND, Some(start + n * SECOND - SECOND / 2)));
    }
    assert!(patience.is_out());
}

#[test]
fn patience_has_no_end_with_a_destination_that_is_away() {
    let start = Instant::now();
    let mut patience = Patience::default();
    assert!((1..1000).all(|n| !patience.failed(start + n * SECOND, Some(start))));
    assert!((1..1000).all(|n| !Patience::default().failed(start + n * SECOND, Some(start + n * SECOND))));
    assert!(!patience.is_out());
}

#[tokio::test]
async fn a_place_is_kept_while_nobody_arrives_and_left_while_others_do() {
    let places = tokio::sync::Semaphore::new(1);
    for others in [false, true] {
        let place = places.acquire().await.expect("a place");
        let waiting = Later { wait: SECOND / 10, others }.wait(place);
        tokio::pin!(waiting);
        assert!(tokio::time::timeout(SECOND / 100, &mut waiting).await.is_err());
        assert_eq!(places.available_permits(), usize::from(others));
        waiting.await;
        assert_eq!(places.available_permits(), 1);
    }
}
