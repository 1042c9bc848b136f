//! Tables for the session, and a model that it is held to.

use proptest::prelude::*;

use super::*;

const SENT: Verdict = Verdict::Send { after: None };
const LIMITS: Limits = Limits { events_max: 4, bytes_max: 1000, ping_ms: 25_000, ack_timeout_ms: 60_000 };

fn session(acking: Acking, next: u64, acked: u64, top: u64) -> Session {
    let at = (Shard(0), Slot(1), Epoch(7));
    Session::new(at, acking, Seq(next), Seq(acked), Seq(top), vec![(Partition(0), Offset(10))], 0)
}

/// Delivery `seq` at offset 100 + seq.
fn deliver(session: &mut Session, seq: u64) -> Verdict {
    session.deliver(Seq(seq), (Partition(0), Offset(100 + seq)), 10, &LIMITS, || true)
}

fn ack(session: &mut Session, seq: u64) -> Said {
    session.said(&format!(r#"{{"t":"ack","seq":{seq}}}"#))
}

#[test]
fn deliveries_are_taken_in_order_and_within_credit() {
    let mut session = session(Acking::Client, 5, 4, 9);
    assert_eq!(deliver(&mut session, 6), Verdict::Unexpected);
    for seq in 5..9 {
        assert_eq!(deliver(&mut session, seq), SENT);
        assert_eq!(deliver(&mut session, seq), Verdict::Unexpected);
    }
    assert_eq!((session.credit(&LIMITS), deliver(&mut session, 9)), (0, Verdict::Wait));
    assert!(matches!(ack(&mut session, 6), Said::Acked(None)));
    assert_eq!((session.acked(), session.credit(&LIMITS)), (Seq(6), 2));
    assert!(session.caught_up().is_none());
    assert_eq!(deliver(&mut session, 9), SENT);
    assert!(matches!(session.caught_up(), Some(ServerFrame::CaughtUp { seq: 9, .. })));
    assert!(session.caught_up().is_none());
}

#[test]
fn what_was_seen_before_an_epoch_change_passes_without_a_frame() {
    let mut session = session(Acking::Client, 1, 0, 3);
    let at = |offset| (Partition(0), Offset(offset));
    assert_eq!(session.deliver(Seq(1), at(8), 1, &LIMITS, || true), Verdict::Skip);
    assert_eq!(session.deliver(Seq(2), at(9), 1, &LIMITS, || true), Verdict::Skip);
    assert_eq!(session.acked(), Seq(0), "the client knows nothing of them yet");
    let after = Some(0);
    assert_eq!(session.deliver(Seq(3), at(10), 1, &LIMITS, || true), Verdict::Send { after }, "1 and 2 were skipped");
    assert_eq!(session.deliver(Seq(4), (Partition(1), Offset(0)), 1, &LIMITS, || true), SENT);
    assert_eq!(session.deliver(Seq(5), at(11), 1, &LIMITS, || false), Verdict::Skip);
    ack(&mut session, 4);
    assert_eq!(session.acked(), Seq(4));
    assert!(session.checkpoint_due(5_000), "a checkpoint tells of what was skipped");
    assert!(matches!(session.checkpoint(5_000), ServerFrame::Checkpoint { seq: 5, .. }));
    ack(&mut session, 5);
    assert_eq!(session.acked(), Seq(5));
    assert_eq!(session.cursor().seen, [(Partition(0), Offset(12)), (Partition(1), Offset(1))]);
    session.raise_to_ends(&[(Partition(0), Offset(20)), (Partition(2), Offset(5))]);
    let seen = [(Partition(0), Offset(20)), (Partition(1), Offset(1)), (Partition(2), Offset(5))];
    assert_eq!(session.cursor().seen, seen);
}

#[test]
fn a_position_moves_no_further_than_what_was_told() {
    let mut session = session(Acking::OnSend, 5, 4, 5);
    assert_eq!(session.deliver(Seq(5), (Partition(0), Offset(200)), 1, &LIMITS, || false), Verdict::Skip);
    assert!(!session.written());
    assert!(session.caught_up().is_some());
    assert!(session.written() && session.acked() == Seq(5));
}

#[test]
fn who_acks() {
    let mut on_send = session(Acking::OnSend, 1, 0, 0);
    for seq in 1..50 {
        assert_eq!(deliver(&mut on_send, seq), SENT, "no credit is needed");
    }
    assert_eq!(on_send.acked(), Seq(0));
    assert!(on_send.written() && !on_send.written());
    assert_eq!(on_send.acked(), Seq(49));
    let mut ahead = session(Acking::OnSend, 9, 4, 8);
    assert!(!ahead.written(), "nothing of 5 to 8 was sent here");
    deliver(&mut ahead, 9);
    assert!(ahead.written() && ahead.acked() == Seq(9));
    let mut never = session(Acking::Never, 1, 0, 0);
    deliver(&mut never, 1);
    assert!(!never.written());
    assert!(matches!(ack(&mut never, 1), Said::Reply(ServerFrame::Error { .. })));
}

#[test]
fn time_passes() {
    let mut session = session(Acking::Client, 1, 0, 0);
    assert_eq!(session.tick(24_999, &LIMITS), Due::Nothing);
    assert_eq!(session.tick(25_000, &LIMITS), Due::Ping);
    assert_eq!(session.tick(26_000, &LIMITS), Due::Nothing);
    assert_eq!(session.tick(60_000, &LIMITS), Due::Ping);
    assert_eq!(session.tick(60_001, &LIMITS), Due::Close(CloseCode::NoPong));
    session.heard(60_001);
    (1..5).for_each(|seq| _ = deliver(&mut session, seq));
    let heard = |session: &mut Session, now_ms| {
        session.heard(now_ms);
        session.tick(now_ms, &LIMITS)
    };
    assert_eq!(heard(&mut session, 61_000), Due::Nothing);
    assert_eq!(heard(&mut session, 90_000), Due::Ping);
    ack(&mut session, 1);
    deliver(&mut session, 5);
    assert_eq!(heard(&mut session, 91_000), Due::Nothing);
    assert_eq!(heard(&mut session, 150_999), Due::Ping);
    assert_eq!(heard(&mut session, 151_000), Due::Close(CloseCode::Slow));
}

#[test]
fn checkpoints_follow_deliveries() {
    let mut session = session(Acking::OnSend, 1, 0, 0);
    assert!(!session.checkpoint_due(1_000_000));
    deliver(&mut session, 1);
    assert!(!session.checkpoint_due(4_999));
    assert!(session.checkpoint_due(5_000));
    let ServerFrame::Checkpoint { seq: 1, cursor } = session.checkpoint(5_000) else { panic!("a checkpoint") };
    assert_eq!(cursor.parse::<Cursor>().unwrap(), session.cursor());
    assert!(!session.checkpoint_due(1_000_000));
    (2..=1001).for_each(|seq| _ = deliver(&mut session, seq));
    assert!(session.checkpoint_due(5_000));
}

#[test]
fn gaps_are_told_from_the_floor() {
    let check = |want, base, acked, lost, expect: &str| {
        let (gaps, next) = gaps(Seq(want), Seq(base), Seq(acked), Seq(lost));
        let gaps: Vec<_> =
            gaps.iter().map(|gap| format!("{}-{} {:?}", gap.from, gap.to.unwrap(), gap.reason)).collect();
        assert_eq!(format!("{} {}", gaps.join(" "), next.0).trim(), expect);
    };
    check(5, 20, 0, 0, "5");
    check(5, 20, 4, 4, "5");
    check(5, 20, 0, 9, "5-9 Retention 10");
    check(5, 20, 9, 0, "5-9 Acked 10");
    check(5, 20, 12, 9, "5-9 Retention 10-12 Acked 13");
    check(5, 20, 9, 12, "5-12 Retention 13");
    // What is past the base is in the log, whatever the floor says.
    check(5, 7, 9, 0, "5-7 Acked 8");
    check(5, 4, 9, 9, "5");
}

proptest! {
    /// Whatever comes in whatever order: the position is the highest ack of what was sent; credit is what the model
    /// says.
    #[test]
    fn the_ack_book_holds(steps in prop::collection::vec((0..4_u8, 0..40_u64), 0..200)) {
        let mut session = session(Acking::Client, 1, 0, 0);
        let (mut sent, mut visible, mut client_acked) = (0_u64, Vec::new(), 0_u64);
        for (step, number) in steps {
            let before = session.acked();
            match step {
                0 | 1 => {
                    let verdict = session.deliver(
                        Seq(sent + 1),
                        (Partition(0), Offset(100 + sent)),
                        10,
                        &LIMITS,
                        || step == 0,
                    );
                    let unacked = visible.iter().filter(|seq| **seq > client_acked).count();
                    prop_assert_eq!(verdict == Verdict::Wait, unacked >= LIMITS.events_max);
                    if verdict != Verdict::Wait {
                        sent += 1;
                        if step == 0 {
                            visible.push(sent);
                        }
                    }
                }
                2 => {
                    client_acked = client_acked.max(number.min(sent));
                    ack(&mut session, number);
                }
                _ => drop(session.said("{}")),
            }
            prop_assert!(session.acked() >= before && session.acked().0 <= sent);
            prop_assert_eq!(session.acked().0, client_acked);
        }
    }
}
