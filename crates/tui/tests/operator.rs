//! What operators stumbled over, as a story each.

use evs_api::filters::FilterSpec;
use evs_api::oplog::LogEntry;
use evs_api::stats::Stats;
use evs_api::subscribers::SubscriberState;
use evs_tui::app::form::FilterForm;
use evs_tui::app::{Overlay, Settings};
use evs_tui::demo::stage::Stage;
use evs_tui::message::{Ask, Effect, FeedMessage, Message};

fn stage() -> Stage {
    Stage::running(Settings::default(), (120, 40), 5)
}

/// Another operator gives the filter another condition.
fn change(stage: &mut Stage, id: u32) {
    let filter = stage.app.present_filter(Some(id)).unwrap();
    let version = filter.version;
    let spec = FilterSpec { where_: Some("amount > 901".into()), ..FilterForm::edit(filter).spec().unwrap() };
    stage.world.answer(Ask::UpdateFilter { id, spec, version }).unwrap();
}

#[test]
fn who_edits_what_another_changed_is_told_before_it_is_replaced() {
    let mut stage = stage();
    stage.press("4 enter");
    let Some(Overlay::Form(form)) = &stage.app.overlay else { panic!("no form") };
    let id = form.id.unwrap();
    change(&mut stage, id);
    stage.wait(2_000);
    let theirs = stage.app.present_filter(Some(id)).unwrap().version;
    stage.press("tab ctrl-u \"mine\" enter enter");
    let Some(Overlay::Form(form)) = &stage.app.overlay else { panic!("it was saved over theirs") };
    assert!(form.overtaken && form.saving.is_none());
    assert!(stage.app.toast.as_ref().unwrap().text.contains("somebody else"));
    let present = stage.app.present_filter(Some(id)).unwrap();
    assert_eq!((present.version, present.spec.where_.as_deref()), (theirs, Some("amount > 901")));
    stage.press("enter");
    assert!(stage.app.overlay.is_none(), "now it is meant");
    stage.wait(2_000);
    assert!(stage.app.present_filter(Some(id)).unwrap().version > theirs);
}

#[test]
fn what_another_changed_is_not_deleted_unseen() {
    let mut stage = stage();
    stage.press("4 d");
    let id = stage.app.selected_filter().unwrap().id;
    change(&mut stage, id);
    stage.press("y");
    assert!(stage.app.toast.as_ref().unwrap().bad);
    stage.wait(2_000);
    assert!(stage.app.present_filter(Some(id)).is_some());
}

#[test]
fn impatience_does_not_begin_a_dry_run_anew() {
    let mut stage = stage();
    stage.press("4 enter");
    stage.online = false;
    stage.press("enter enter enter");
    let tests = stage.effects.iter().filter(|e| matches!(e, Effect::Ask(_, Ask::TestFilter(_)))).count();
    assert_eq!(tests, 1);
}

#[test]
fn notices_go_when_they_are_of_the_past() {
    let mut stage = stage();
    stage.press("2 esc");
    assert!(stage.app.toast.is_some());
    stage.press("4");
    assert!(stage.app.toast.is_none(), "what was said of another view");
    stage.press("enter ctrl-u \"amount >\" enter");
    assert!(stage.app.toast.as_ref().unwrap().bad);
    stage.press("\" 5\"");
    assert!(stage.app.toast.is_none(), "what is being mended");
}

#[test]
fn the_number_of_events_is_that_of_the_condition() {
    let mut stage = stage();
    stage.press("3");
    stage.wait(3_000);
    let all = stage.app.live.events.of_query();
    assert!(all > 0);
    stage.press("w \"amount > 1000000\" enter");
    assert_eq!(stage.app.live.events.of_query(), 0);
}

#[test]
fn whom_it_was_asked_for_is_offered_and_not_in_the_way() {
    let mut stage = stage();
    stage.press("3");
    stage.wait(1_000);
    stage.press("x \"billing\" enter esc x");
    assert_eq!(stage.app.prompt.as_ref().unwrap().input.text(), "");
    let offered = stage.app.completions();
    assert_eq!(offered[0], "billing");
    assert_eq!(offered.iter().filter(|id| *id == "billing").count(), 1);
    stage.press("enter");
    assert!(matches!(&stage.app.overlay, Some(Overlay::Why(why)) if why.subscriber == "billing"));
}

#[test]
fn an_instance_that_went_stays_in_sight_for_a_while() {
    let mut stage = stage();
    let mut stats = Stats::clone(stage.app.live.stats.as_ref().unwrap());
    let gone = stats.instances.remove(3).id;
    let start_ms = stats.time_ms;
    let mut tell = |after_s: i64| {
        stats.time_ms = start_ms + after_s * 1000;
        stage.app.update(Message::Feed(FeedMessage::Stats(Box::new(stats.clone()))));
        stage.app.live.stats.as_ref().unwrap().instances.iter().find(|i| i.id == gone).cloned()
    };
    let shown = tell(5).expect("it is in sight");
    assert!(!shown.healthy && shown.problem.unwrap().starts_with("reports no more"));
    assert!(tell(100).unwrap().age_s >= 100.0);
    assert!(tell(200).is_none(), "not for ever");
}

#[test]
fn a_log_that_is_told_again_under_new_numbers_is_shown_once() {
    let mut stage = stage();
    let entry = |id, instance: Option<&str>| LogEntry {
        id,
        time_ms: 7,
        kind: "connected".into(),
        instance: instance.map(str::to_owned),
        message: "consumer desk connected".into(),
        ..LogEntry::default()
    };
    let before = stage.app.live.log.len();
    let news = vec![entry(1 << 50, Some("g")), entry((1 << 50) + 9, Some("g")), entry((1 << 50) + 10, Some("h"))];
    stage.app.update(Message::Feed(FeedMessage::Log(news)));
    assert_eq!(stage.app.live.log.len(), before + 2);
}

#[test]
fn those_that_nobody_has_read_can_be_left_out() {
    let mut stage = stage();
    stage.press("2 i");
    stage.wait(1_000);
    let rows = stage.app.subscriber_rows();
    assert!(!rows.is_empty() && rows.iter().all(|row| row.state != SubscriberState::New));
    assert!(stage.app.command().contains("--state live,slow,away"), "{}", stage.app.command());
    let some = stage.app.live.subscribers.total;
    stage.press("i");
    stage.wait(1_000);
    assert!(stage.app.live.subscribers.total > some);
}
