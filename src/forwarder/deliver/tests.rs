use super::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn patience_ends_with_a_request_that_fails_while_others_arrive() {
    let start = Instant::now();
    let mut patience = Patience::default();
    let ends: Vec<bool> = (0..=STRIKES)
        .map(|n| patience.ends(start + n * SECOND, Some(start + n * SECOND - SECOND / 2)))
        .collect();
    assert_eq!(ends.iter().position(|ends| *ends), Some(STRIKES as usize), "{ends:?}");
}

#[test]
fn patience_has_no_end_with_a_destination_that_is_away() {
    let start = Instant::now();
    let mut patience = Patience::default();
    assert!((1..1000).all(|n| !patience.ends(start + n * SECOND, Some(start))));
    assert!((1..1000).all(|n| !Patience::default().ends(start + n * SECOND, Some(start + n * SECOND))));
    // It is back, takes what one waited with, and goes away again in the middle of what was known to be unbearable.
    let mut patience = Patience { strikes: STRIKES, failed: Some(start) };
    assert!(patience.ends(start + 2 * SECOND, Some(start + SECOND)));
    assert!(!patience.ends(start + 3 * SECOND, Some(start + SECOND)));
}
